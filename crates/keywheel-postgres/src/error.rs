use std::error::Error;
use std::io;
use std::sync::Arc;

use keywheel_connection::{StoreError, StoreErrorKind};
use tokio_postgres::error::SqlState;

/// Why something was not done.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The server refused or failed, or did not answer.
    Failed(tokio_postgres::Error),
    /// Anything else.
    Refused(StoreError),
}

impl From<tokio_postgres::Error> for Fault {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl Fault {
    /// Tells whether nothing was done and the same may succeed at once: it collided with something.
    pub(crate) fn is_passing(&self) -> bool {
        self.state().is_some_and(|state| {
            [
                SqlState::T_R_SERIALIZATION_FAILURE,
                SqlState::T_R_DEADLOCK_DETECTED,
            ]
            .contains(state)
        })
    }

    /// Tells whether the server accepts no writes.
    pub(crate) fn is_read_only(&self) -> bool {
        self.state() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
    }

    /// Tells whether the statement itself is at fault, rather than the server.
    pub(crate) fn is_refusal(&self) -> bool {
        self.state()
            .is_some_and(|state| matches!(class(state), "22" | "23"))
    }

    /// Tells whether the name of a connection is taken.
    pub(crate) fn is_name_taken(&self) -> bool {
        self.violates(NAMES)
    }

    /// Tells whether an entry with the same number is in the journal.
    pub(crate) fn is_entry_taken(&self) -> bool {
        self.violates(ENTRIES)
    }

    /// Tells whether the connection it happened on is still good.
    pub(crate) fn spares_connection(&self) -> bool {
        match self {
            // Class 57 is the server going down.
            Self::Failed(error) => error.code().is_some_and(|state| class(state) != "57"),
            Self::Refused(_) => false,
        }
    }

    fn violates(&self, constraint: &str) -> bool {
        match self {
            Self::Failed(error) => error
                .as_db_error()
                .is_some_and(|error| error.constraint() == Some(constraint)),
            Self::Refused(_) => false,
        }
    }

    fn state(&self) -> Option<&SqlState> {
        match self {
            Self::Failed(error) => error.code(),
            Self::Refused(_) => None,
        }
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Failed(error) => {
                let (kind, message) = advice(&error);
                Self::new(kind, message).with_source(error)
            }
        }
    }
}

/// Returns the same error once more, for another caller.
pub(crate) fn again(error: &Arc<StoreError>) -> StoreError {
    StoreError::new(error.kind(), error.to_string()).with_source(error.clone())
}

pub(crate) fn not_ours(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::NotOurs, message)
}

pub(crate) fn closed() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "database: the runtime that opened the store has ended; open it again",
    )
}

pub(crate) fn too_slow() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "database: no answer in time; check the server and the network, and try again",
    )
}

pub(crate) fn unresolved(error: io::Error) -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "database: the server's name was not found; check its address and the network, and try again",
    )
    .with_source(error)
}

/// Returns the first two characters of a state. What stands between us and the server may send any text.
fn class(state: &SqlState) -> &str {
    state.code().get(..2).unwrap_or_default()
}

fn advice(error: &tokio_postgres::Error) -> (StoreErrorKind, &'static str) {
    let Some(state) = error.code() else {
        return unreached(error);
    };
    match (class(state), state.code()) {
        (_, "53100") => (
            StoreErrorKind::Unavailable,
            "database: the server's disk is full; make room and try again",
        ),
        (_, "53300") => (
            StoreErrorKind::Unavailable,
            "database: the server has no connection left; raise max_connections or use a pooler",
        ),
        (_, "25006") => (
            StoreErrorKind::Unavailable,
            "database: the server is read-only; connect to the primary and try again",
        ),
        ("57" | "08", _) => (
            StoreErrorKind::Unavailable,
            "database: the server is going down or coming up; try again",
        ),
        ("28", _) | (_, "3D000" | "42501" | "3F000") => (
            StoreErrorKind::NotOurs,
            "database: the server refuses the user, the password or the database; correct the URL or grant \
             the rights",
        ),
        ("22" | "23" | "XX" | "42", _) => (
            StoreErrorKind::Corrupt,
            "database: what is stored contradicts itself; restore it from a backup",
        ),
        _ => (StoreErrorKind::Unavailable, FAILED),
    }
}

/// Says what to do about an error that the server did not send.
fn unreached(error: &tokio_postgres::Error) -> (StoreErrorKind, &'static str) {
    let source = error.source().map(ToString::to_string);
    match (error.to_string().as_str(), source.as_deref()) {
        (TLS, Some("server does not support TLS")) => (
            StoreErrorKind::NotOurs,
            "database TLS: the server does not encrypt, and so nothing was sent; turn on its `ssl`, or say \
             sslmode=disable in the URL",
        ),
        (TLS, _) if refuses_certificate(error) => (
            StoreErrorKind::NotOurs,
            "database TLS: the server's certificate was not accepted; give its root certificate, or correct \
             the host in the URL",
        ),
        (_, Some("database does not allow writes")) => (
            StoreErrorKind::Unavailable,
            "database: the server is read-only; connect to the primary and try again",
        ),
        _ => (
            StoreErrorKind::Unavailable,
            "database: the server can't be reached; check its address and the network, and try again",
        ),
    }
}

fn refuses_certificate(error: &tokio_postgres::Error) -> bool {
    let io = error
        .source()
        .and_then(|error| error.downcast_ref::<io::Error>());
    let inner = io.and_then(io::Error::get_ref);
    inner.is_some_and(|inner| inner.is::<rustls::Error>())
}

/// How tokio-postgres, which keeps the kinds of its errors to itself, begins to speak of TLS.
const TLS: &str = "error performing TLS handshake";

const FAILED: &str = "database: a statement failed; try again";

/// The name that PostgreSQL gives to the constraint that names are unique.
const NAMES: &str = "connection_namespace_name_key";

/// The name that PostgreSQL gives to the constraint that a journal has one entry of a number.
const ENTRIES: &str = "journal_connection_seq_key";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_may_be_any_text() {
        for (state, expected) in [
            ("57P01", "57"),
            ("9", ""),
            ("", ""),
            ("é1", "é"),
            ("1é", ""),
        ] {
            assert_eq!(class(&SqlState::from_code(state)), expected, "{state}");
        }
    }
}
