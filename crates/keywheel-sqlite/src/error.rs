use keywheel_connection::{StoreError, StoreErrorKind};
use rusqlite::ErrorCode;

/// Says what to do about an error of SQLite.
pub(crate) fn failed(error: rusqlite::Error) -> StoreError {
    let (kind, message) = match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => (
            StoreErrorKind::Unavailable,
            "database: another process keeps it locked; end that process, or try again",
        ),
        Some(ErrorCode::DiskFull) => (
            StoreErrorKind::Unavailable,
            "database: the disk is full; make room and try again",
        ),
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
            return read_only().with_source(error);
        }
        Some(ErrorCode::CannotOpen) => (
            StoreErrorKind::Unavailable,
            "database: the file can't be opened; correct its path and permissions and try again",
        ),
        Some(ErrorCode::SystemIoFailure) => (
            StoreErrorKind::Unavailable,
            "database: reading or writing failed; check the disk and try again",
        ),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => (
            StoreErrorKind::Corrupt,
            "database: the file is damaged; restore it from a backup",
        ),
        Some(ErrorCode::ConstraintViolation) | None => (
            StoreErrorKind::Corrupt,
            "database: what is stored contradicts itself; restore it from a backup",
        ),
        Some(_) => (
            StoreErrorKind::Unavailable,
            "database: a statement failed; try again",
        ),
    };
    StoreError::new(kind, message).with_source(error)
}

/// Tells whether the statement itself is at fault, rather than the file or the disk.
pub(crate) fn is_refusal(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch) | None
    )
}

pub(crate) fn read_only() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "database: the file can't be written; correct its permissions and try again",
    )
}

pub(crate) fn closed() -> StoreError {
    StoreError::new(
        StoreErrorKind::Unavailable,
        "database: the store was closed; open it again",
    )
}
