use std::fmt::Write;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use keywheel_connection::{StoreError, StoreErrorKind};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::error::failed;
use crate::schema;
use crate::writer::Opening;

/// Makes sure that there is a file that may be opened: a new empty one, or one of ours.
///
/// SQLite writes to what it opens, be it only to recover; so a file that is not ours is told by its marks
/// before.
///
/// Nobody but SQLite opens what may be open already: when a process closes any descriptor of a file, POSIX drops
/// all of its locks on that file (<https://www.sqlite.org/howtocorrupt.html#_posix_advisory_locks_canceled_by_a_separate_thread_doing_close_>),
/// and the next process to close it would remove the log that this one writes to.
pub(crate) fn prepare(path: &Path) -> Result<(), StoreError> {
    // Others wait until the descriptor that a file was created with is closed.
    let _closed = CREATING.lock().unwrap_or_else(PoisonError::into_inner);
    let io = |error: io::Error| cannot_open(path, error);
    match create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        created => return created.map(drop).map_err(io),
    }
    let found = path.metadata().map_err(io)?;
    if found.is_dir() {
        return Err(io(io::ErrorKind::IsADirectory.into()));
    }
    if found.len() == 0 {
        return restrict(path).map_err(io);
    }
    match marks(path) {
        Ok((schema::APPLICATION_ID, version)) if version > schema::VERSION => {
            Err(newer(path, version))
        }
        Ok((schema::APPLICATION_ID, _)) => Ok(()),
        Err(error) if error.sqlite_error_code() != Some(ErrorCode::NotADatabase) => {
            Err(failed(error))
        }
        Ok(_) | Err(_) => Err(StoreError::new(
            StoreErrorKind::NotOurs,
            format!(
                "database: {} is not a file of keywheel, and was left as it is; choose another path",
                path.display()
            ),
        )),
    }
}

/// Held while a file is created and not closed yet.
static CREATING: Mutex<()> = Mutex::new(());

/// Reads whose file it is, and of which version.
fn marks(path: &Path) -> rusqlite::Result<(i32, i32)> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let file = Connection::open_with_flags(immutable(path), flags)?;
    // Or else a file whose checkpoint was cut off, shorter than its first page says, were called damaged before
    // its log is looked at.
    file.pragma_update(None, "writable_schema", true)?;
    let mark = |name| file.pragma_query_value(None, name, |row| row.get(0));
    Ok((mark("application_id")?, mark("user_version")?))
}

/// Returns the URI of a file that SQLite is to read as it stands: without locks, a log or recovery
/// (<https://www.sqlite.org/uri.html#uriimmutable>).
fn immutable(path: &Path) -> String {
    let mut uri = "file:".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        let _ = write!(uri, "%{byte:02X}");
    }
    uri + "?immutable=1"
}

pub(crate) fn newer(path: &Path, version: i32) -> StoreError {
    StoreError::new(
        StoreErrorKind::NotOurs,
        format!(
            "database: {} was written by a newer keywheel (schema {version}), and was left as it is; \
             upgrade this program",
            path.display()
        ),
    )
}

/// Copies the database as it is at one moment, while others go on writing.
pub(crate) fn back_up(opening: &Opening, to: &Path) -> Result<(), StoreError> {
    let io = |error: io::Error| cannot_open(to, error);
    let Some(name) = to.to_str() else {
        return Err(io(io::ErrorKind::InvalidFilename.into()));
    };
    let connection = opening.connect()?;
    let file = create(to).map_err(io)?;
    let copied = connection.execute("VACUUM INTO ?1", [name]);
    let copied = copied
        .map_err(failed)
        .and_then(|_| file.sync_all().map_err(io));
    // Half a copy must not be taken for one.
    copied.inspect_err(|_| drop(std::fs::remove_file(to)))
}

/// Creates a file that nobody else reads. SQLite gives its other files the same mode.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

fn restrict(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

fn cannot_open(path: &Path, error: io::Error) -> StoreError {
    let path = path.display();
    let (kind, message) = match error.kind() {
        io::ErrorKind::NotFound => (
            StoreErrorKind::NotOurs,
            format!("database: the directory of {path} does not exist; create it"),
        ),
        io::ErrorKind::AlreadyExists => (
            StoreErrorKind::NotOurs,
            format!("database: {path} exists already, and was left as it is; choose another path"),
        ),
        io::ErrorKind::IsADirectory => (
            StoreErrorKind::NotOurs,
            format!("database: {path} is a directory; name a file in it"),
        ),
        _ => (
            StoreErrorKind::Unavailable,
            format!("database: {path} can't be opened; correct its permissions and try again"),
        ),
    };
    StoreError::new(kind, message).with_source(error)
}
