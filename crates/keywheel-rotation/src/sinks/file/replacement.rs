use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use keywheel_connection::ConnectionId;
use keywheel_core::{Entropy, SystemEntropy};
use uuid::Uuid;
use zeroize::Zeroizing;

/// What is to be put in the place of a file, whole or not at all, unless what is there is of later.
///
/// Beside the file `NAME` are `.NAME.keywheel-order`, which says of when it is and is locked while it is
/// replaced, and for that moment a draft, `.NAME.keywheel-new-` and a random id. No connection's file begins
/// with a dot, so that none of these is ever taken for one.
pub(super) struct Replacement {
    pub(super) path: PathBuf,
    pub(super) content: Zeroizing<Vec<u8>>,
    pub(super) mark: Mark,
    /// Whether the folder is made where there is none.
    pub(super) makes_folder: bool,
}

/// How far an attempt to replace a file got.
pub(super) enum Attempt {
    Replaced,
    /// Somebody else is replacing it.
    Locked,
    /// It is of later than what was to be put in its place.
    Overtaken(Mark),
}

impl Replacement {
    pub(super) fn attempt(&self) -> io::Result<Attempt> {
        let folder = self.folder();
        if self.makes_folder {
            private_folder(folder)?;
        }
        let mut order = private().create(true).open(self.order_path()?)?;
        match order.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(Attempt::Locked),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        match Mark::read(&mut order)? {
            Some(held) if held.is_later_than(self.mark) => return Ok(Attempt::Overtaken(held)),
            _ => {}
        }
        self.remove_drafts()?;
        let draft = self.beside(&format!("{DRAFT}{}", SystemEntropy::new().uuid()))?;
        let replaced = self.replace(&draft, &mut order);
        if replaced.is_err() {
            drop(fs::remove_file(&draft));
        }
        replaced.map(|()| Attempt::Replaced)
    }

    /// The order is noted before the file gets its name: after a crash in between, what comes late is still
    /// seen to be late, and the one that is noted is given again.
    fn replace(&self, draft: &Path, order: &mut File) -> io::Result<()> {
        let mut file = private().create_new(true).open(draft)?;
        file.write_all(&self.content)?;
        file.sync_all()?;
        self.mark.write(order)?;
        // The new names must be as durable as the content.
        sync(self.folder())?;
        fs::rename(draft, &self.path)?;
        sync(self.folder())
    }

    /// Removes what crashes left. Whoever holds the lock is the only one with a draft.
    fn remove_drafts(&self) -> io::Result<()> {
        let prefix = self.hidden(DRAFT)?;
        for entry in fs::read_dir(self.folder())? {
            let entry = entry?;
            if is_draft(&entry.file_name(), &prefix) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    pub(super) fn order_path(&self) -> io::Result<PathBuf> {
        self.beside(".keywheel-order")
    }

    fn beside(&self, suffix: &str) -> io::Result<PathBuf> {
        Ok(self.folder().join(self.hidden(suffix)?))
    }

    fn hidden(&self, suffix: &str) -> io::Result<OsString> {
        let name = self.path.file_name();
        let name = name.ok_or_else(|| io::Error::other("the path names no file"))?;
        let mut hidden = OsString::from(".");
        hidden.push(name);
        hidden.push(suffix);
        Ok(hidden)
    }

    fn folder(&self) -> &Path {
        match self.path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        }
    }
}

const DRAFT: &str = ".keywheel-new-";

/// What follows the prefix must be an id, so that no draft of a file with a longer name is meant.
fn is_draft(name: &OsStr, prefix: &OsStr) -> bool {
    let rest = name
        .as_encoded_bytes()
        .strip_prefix(prefix.as_encoded_bytes());
    rest.is_some_and(|rest| Uuid::try_parse_ascii(rest).is_ok())
}

/// Of which connection a secret is, and of which of its states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) connection: ConnectionId,
    pub(super) order: u64,
}

impl Mark {
    /// A connection that was made anew under the name of another one counts from the beginning.
    fn is_later_than(self, other: Self) -> bool {
        self.connection == other.connection && self.order > other.order
    }

    /// Returns `None` for a file that is new, or in which nothing was noted before a crash.
    fn read(file: &mut File) -> io::Result<Option<Self>> {
        let mut text = String::new();
        file.take(1024).read_to_string(&mut text)?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Option<Self> {
        let (connection, order) = text.trim_end().split_once(' ')?;
        Some(Self {
            connection: connection.parse().ok()?,
            order: order.parse().ok()?,
        })
    }

    /// Always as long, so that there is never a moment without one.
    fn write(self, file: &mut File) -> io::Result<()> {
        let Self { connection, order } = self;
        file.rewind()?;
        file.write_all(format!("{connection} {order:020}\n").as_bytes())?;
        file.sync_all()
    }
}

/// For nobody but the owner.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_drafts_of_this_very_file_are_removed() {
        let id = Uuid::from_u128(5);
        let is = |name: String| is_draft(OsStr::new(&name), OsStr::new(".a.keywheel-new-"));

        assert!(is(format!(".a.keywheel-new-{id}")));
        assert!(!is(format!(".a.keywheel-new-b.keywheel-new-{id}")));
        assert!(!is(format!(".b.keywheel-new-{id}")));
        assert!(!is(".a.keywheel-new-b.keywheel-order".to_owned()));
    }

    #[test]
    fn a_mark_is_later_by_its_order_and_only_of_the_same_connection() {
        let mark = |connection: u128, order| Mark {
            connection: Uuid::from_u128(connection).into(),
            order,
        };

        assert!(mark(1, 6).is_later_than(mark(1, 5)));
        assert!(!mark(1, 5).is_later_than(mark(1, 5)), "it may come again");
        assert!(!mark(1, 6).is_later_than(mark(2, 1)));
        assert_eq!(Mark::parse(""), None);
    }
}
