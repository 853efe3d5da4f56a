use std::error::Error;
use std::fmt;

/// Prints an error and everything that caused it, on one line.
///
/// Our errors' `Display` never contains the source, so that a chain printed by a logger is not doubled.
/// Where a person reads the message, wrap it:
///
/// ```
/// use keywheel_core::{KeyId, Report};
///
/// let error = "not-a-guid".parse::<KeyId>().unwrap_err();
/// assert!(Report(&error).to_string().starts_with("key id: "));
/// ```
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a wrapper: the field is its use")]
pub struct Report<'a>(pub &'a (dyn Error + 'a));

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
