use std::error::Error;

use keywheel_connection::{IssuerError, IssuerErrorKind, SealError, StoreError, StoreErrorKind};
use keywheel_core::Report;
use thiserror::Error;

use crate::authority::{MANAGING, NoAuthority};

/// What was asked of a connection was not done. Nothing was stored, unless the store did not answer: see
/// [`ConnectionErrorKind::Store`].
#[derive(Debug, Error)]
#[error("{message}")]
pub struct ConnectionError {
    kind: ConnectionErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What to do about a [`ConnectionError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ConnectionErrorKind {
    /// Entra or Graph refuses: the credential, the permission, or the application. Correct it there.
    Denied,
    /// What was given can't work. Correct it.
    Invalid,
    /// The secret can't be sealed or opened. Correct the sealing key.
    Seal,
    /// The state of the connection does not allow it now. See the message.
    State,
    /// The store refuses or does not answer. Where trying again may help
    /// ([`is_transient`](ConnectionError::is_transient)), its answer may be all that was lost, and what was
    /// asked for be stored: look at the status first.
    Store,
    /// The service does not answer. Try again.
    Unavailable,
}

impl ConnectionError {
    fn new(kind: ConnectionErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(ConnectionErrorKind::Invalid, message)
    }

    pub(super) fn state(message: impl Into<String>) -> Self {
        Self::new(ConnectionErrorKind::State, message)
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> ConnectionErrorKind {
        self.kind
    }

    /// Tells whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ConnectionErrorKind::Unavailable => true,
            ConnectionErrorKind::Store => {
                let source = self.source.as_deref();
                let error = source.and_then(|source| source.downcast_ref::<StoreError>());
                error.is_some_and(StoreError::is_transient)
            }
            ConnectionErrorKind::Denied
            | ConnectionErrorKind::Invalid
            | ConnectionErrorKind::Seal
            | ConnectionErrorKind::State => false,
        }
    }
}

impl From<IssuerError> for ConnectionError {
    fn from(error: IssuerError) -> Self {
        let kind = match error.kind() {
            IssuerErrorKind::Busy
            | IssuerErrorKind::Throttled
            | IssuerErrorKind::Unavailable
            | IssuerErrorKind::Unknown => ConnectionErrorKind::Unavailable,
            _ => ConnectionErrorKind::Denied,
        };
        Self::new(kind, Report(&error).to_string())
    }
}

impl From<SealError> for ConnectionError {
    fn from(error: SealError) -> Self {
        let kind = if error.is_transient() {
            ConnectionErrorKind::Unavailable
        } else {
            ConnectionErrorKind::Seal
        };
        let message = error.to_string();
        Self {
            source: Some(error.into()),
            ..Self::new(kind, message)
        }
    }
}

impl From<StoreError> for ConnectionError {
    fn from(error: StoreError) -> Self {
        let kind = match error.kind() {
            StoreErrorKind::NameTaken => ConnectionErrorKind::Invalid,
            _ => ConnectionErrorKind::Store,
        };
        let message = error.to_string();
        Self {
            source: Some(error.into()),
            ..Self::new(kind, message)
        }
    }
}

impl From<NoAuthority> for ConnectionError {
    fn from(error: NoAuthority) -> Self {
        match error {
            NoAuthority::Managing(error) if error.kind() == StoreErrorKind::NotFound => {
                Self::state(format!("{MANAGING} was deleted; delete this one too"))
            }
            NoAuthority::Managing(error) => error.into(),
            NoAuthority::Seal(error) => error.into(),
            NoAuthority::Unfit(why) => Self::invalid(why),
        }
    }
}
