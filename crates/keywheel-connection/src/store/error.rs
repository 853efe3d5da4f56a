use std::error::Error;

use chrono::{DateTime, Utc};
use thiserror::Error;

/// A store could not do what was asked.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct StoreError {
    kind: StoreErrorKind,
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// What to do about a [`StoreError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Somebody saved another version. Load it and decide again.
    Conflict,
    /// What is stored can't be read. Restore it, or upgrade.
    Corrupt,
    /// Somebody else has the lease. Wait until the given instant, or for a release.
    Held {
        /// When the lease ends, unless it is renewed.
        until: DateTime<Utc>,
    },
    /// The lease was taken by somebody else. Stop.
    LeaseLost,
    /// The namespace has a connection of that name. Choose another one.
    NameTaken,
    /// There is no such connection.
    NotFound,
    /// The place given is not a store of ours, or one of a newer version. Correct it.
    NotOurs,
    /// The store does not answer, is full or read-only. Try again.
    Unavailable,
}

impl StoreError {
    /// Returns an error that says `message`: one line that ends in what to do next.
    #[must_use]
    pub fn new(kind: StoreErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }

    /// Tells whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            StoreErrorKind::Held { .. } | StoreErrorKind::Unavailable => true,
            StoreErrorKind::Conflict
            | StoreErrorKind::Corrupt
            | StoreErrorKind::LeaseLost
            | StoreErrorKind::NameTaken
            | StoreErrorKind::NotFound
            | StoreErrorKind::NotOurs => false,
        }
    }
}

macro_rules! plain {
    ($($(#[$doc:meta])* $name:ident => $kind:ident, $message:literal;)*) => {
        impl StoreError {
            $($(#[$doc])* #[must_use] pub fn $name() -> Self {
                Self::new(StoreErrorKind::$kind, $message)
            })*
        }
    };
}

plain! {
    /// Somebody saved another version.
    conflict => Conflict, "the connection was changed meanwhile; load it again";
    /// Somebody took the lease.
    lease_lost => LeaseLost, "the lease of the connection was taken over; stop working on it";
    /// The name is in use.
    name_taken => NameTaken, "connection name: already in use in this namespace; choose another one";
    /// No such connection.
    not_found => NotFound, "there is no such connection; it may have been deleted";
}

impl StoreError {
    /// Somebody else has the lease until then.
    #[must_use]
    pub fn held(until: DateTime<Utc>) -> Self {
        Self::new(
            StoreErrorKind::Held { until },
            format!(
                "another process is working on the connection; its lease ends at {}",
                until.format("%FT%TZ")
            ),
        )
    }
}
