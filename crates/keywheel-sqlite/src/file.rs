use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::path::Path;

use keywheel_connection::{StoreError, StoreErrorKind};

use crate::error::failed;
use crate::schema;
use crate::writer::Opening;

/// Makes sure that there is a file that may be opened: a new empty one, or one of ours.
///
/// SQLite writes to what it opens, be it only to recover; so a file that is not ours is told by its first
/// bytes (<https://www.sqlite.org/fileformat2.html#the_database_header>).
pub(crate) fn prepare(path: &Path) -> Result<(), StoreError> {
    let io = |error: io::Error| cannot_open(path, error);
    let header = match File::open(path) {
        Ok(file) => header(file).map_err(io)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match create(path) {
                // Somebody else was faster.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => prepare(path),
                created => created.map(drop).map_err(io),
            };
        }
        Err(error) => return Err(io(error)),
    };
    if header.is_empty() {
        return restrict(path).map_err(io);
    }
    let ours = header.len() == HEADER
        && header.starts_with(b"SQLite format 3\0")
        && number(&header, 68) == schema::APPLICATION_ID;
    if !ours {
        return Err(StoreError::new(
            StoreErrorKind::NotOurs,
            format!(
                "database: {} is not a file of keywheel, and was left as it is; choose another path",
                path.display()
            ),
        ));
    }
    match number(&header, 60) {
        version if version > schema::VERSION => Err(newer(path, version)),
        _ => Ok(()),
    }
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
    let connection = opening.connect().map_err(failed)?;
    let file = create(to).map_err(io)?;
    let copied = connection.execute("VACUUM INTO ?1", [name]);
    let copied = copied
        .map_err(failed)
        .and_then(|_| file.sync_all().map_err(io));
    // Half a copy must not be taken for one.
    copied.inspect_err(|_| drop(std::fs::remove_file(to)))
}

fn header(file: File) -> io::Result<Vec<u8>> {
    let mut header = Vec::with_capacity(HEADER);
    file.take(HEADER as u64).read_to_end(&mut header)?;
    Ok(header)
}

fn number(header: &[u8], at: usize) -> i32 {
    header[at..at + 4]
        .iter()
        .fold(0, |number, byte| number << 8 | i32::from(*byte))
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

const HEADER: usize = 100;
