//! How the program ends.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

use keywheel::core::Report;

pub(crate) type Result<T> = std::result::Result<T, End>;

/// Why the program ends without being done.
#[derive(Debug)]
pub(crate) enum End {
    /// Bad configuration, and nothing was touched.
    Bad(String),
    /// Failed; the message says what to do next.
    Failed(String),
    /// Not confirmed yet; the message says what it waits for.
    Pending(String),
}

impl End {
    pub(crate) fn bad(field: &str, error: impl Error) -> Self {
        Self::Bad(format!("{field}: {}", Report(&error)))
    }

    pub(crate) fn failed(error: impl Error) -> Self {
        Self::Failed(Report(&error).to_string())
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Bad(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::from(1),
            Self::Pending(_) => ExitCode::from(3),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bad(message) => write!(f, "bad configuration, nothing was touched: {message}"),
            Self::Failed(message) => write!(f, "failed: {message}"),
            Self::Pending(message) => {
                write!(f, "not confirmed yet, run it again: {message}")
            }
        }
    }
}
