use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use keywheel_connection::conformance::sample;
use keywheel_connection::{ConnectionStore, StoreErrorKind};
use keywheel_sqlite::SqliteStore;

#[tokio::test]
async fn what_was_stored_is_there_when_the_file_is_opened_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let (connection, entries) = sample::rotating(1, "one");
    let store = open(&path).await;
    store.create(&connection, None, &entries).await.unwrap();
    drop(store);

    let store = open(&path).await;

    let stored = store.load(connection.id).await.unwrap().unwrap();
    assert_eq!(stored.connection.encode(), connection.encode());
}

#[tokio::test]
async fn only_the_owner_reads_the_files() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");

    let store = open(&path).await;
    let (connection, entries) = sample::connection(1, "one");
    store.create(&connection, None, &entries).await.unwrap();

    let files = fs::read_dir(directory.path()).unwrap();
    let modes: Vec<_> = files
        .map(|file| file.unwrap().metadata().unwrap().mode() & 0o777)
        .collect();
    assert_eq!(modes, [0o600; 3], "the database, its log and its index");
}

#[tokio::test]
async fn an_empty_file_becomes_ours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    fs::write(&path, "").unwrap();
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();

    open(&path).await;

    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

/// POSIX drops all locks of a process on a file when the process closes any descriptor of that file. Without
/// its lock, the next process that closes the file removes the log that this one writes to.
#[tokio::test]
async fn whoever_opens_the_file_again_leaves_its_locks_alone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = open(&path).await;
    let (connection, entries) = sample::connection(1, "one");
    store.create(&connection, None, &entries).await.unwrap();
    assert!(is_locked(&path));

    let again = open(&path).await;
    assert!(is_locked(&path), "after another store opened it");
    store
        .back_up(directory.path().join("copy.db"))
        .await
        .unwrap();
    store.back_up(&path).await.unwrap_err();
    assert!(is_locked(&path), "after a backup");
    again.close().await;
    assert!(is_locked(&path), "after that store was closed");

    store.close().await;
    assert!(!is_locked(&path));
}

/// Tells whether this process has a lock on the file.
fn is_locked(path: &Path) -> bool {
    let file = format!(":{}", fs::metadata(path).unwrap().ino());
    let process = std::process::id().to_string();
    let locks = fs::read_to_string("/proc/locks").unwrap();
    locks.lines().any(|lock| {
        let mut words = lock.split_whitespace().skip(4);
        words.next() == Some(&process) && words.next().is_some_and(|place| place.ends_with(&file))
    })
}

#[tokio::test]
async fn a_file_that_is_not_ours_is_refused_and_left_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes.txt");
    fs::write(&path, "SQLite format 3\0 is how they begin").unwrap();
    assert_refused(&path, "not a file of keywheel").await;

    let path = directory.path().join("other.db");
    let other = rusqlite::Connection::open(&path).unwrap();
    other
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE theirs (column);")
        .unwrap();
    drop(other);
    assert_refused(&path, "not a file of keywheel").await;

    let path = directory.path().join("newer.db");
    open(&path).await.close().await;
    let newer = rusqlite::Connection::open(&path).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    assert_refused(&path, "schema 99").await;
}

/// It is not called damaged, nor somebody else's: the log has what it misses.
#[tokio::test]
async fn a_file_whose_checkpoint_was_cut_off_is_ours_and_recovers() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let cut = directory.path().join("cut.db");
    let store = open(&path).await;
    let connections: Vec<_> = (0..50)
        .map(|n| sample::connection(n, &format!("c{n}")))
        .collect();
    for (connection, entries) in &connections {
        store.create(connection, None, entries).await.unwrap();
    }
    let short = fs::read(&path).unwrap();
    fs::copy(path.with_extension("db-wal"), cut.with_extension("db-wal")).unwrap();
    store.close().await;
    let whole = fs::read(&path).unwrap();
    assert!(short.len() < whole.len(), "nothing was left in the log");

    // The first page is written first.
    fs::write(&cut, [&whole[..4_096], &short[4_096..]].concat()).unwrap();
    let recovered = open(&cut).await;

    for (connection, _) in connections {
        assert!(recovered.load(connection.id).await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_damaged_file_is_told_from_one_that_is_not_ours() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    open(&path).await.close().await;
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();

    let error = SqliteStore::builder(&path).open().await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    assert!(error.to_string().contains("restore it"), "{error}");
}

#[tokio::test]
async fn a_file_may_have_any_name() {
    let directory = tempfile::tempdir().unwrap();
    let odd = OsStr::from_bytes(b"a?mode=memory&b#c%41 \xff\xc3\xa9");
    for name in [odd, OsStr::new("file:keywheel.db"), OsStr::new("-")] {
        let path = directory.path().join(name);
        open(&path).await.close().await;

        open(&path).await;

        assert_eq!(fs::read(&path).unwrap()[..15], *b"SQLite format 3");
    }
}

#[tokio::test]
async fn a_place_where_no_file_can_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();

    let nowhere = directory.path().join("nowhere/keywheel.db");
    let link = directory.path().join("link.db");
    std::os::unix::fs::symlink(&nowhere, &link).unwrap();

    for path in [directory.path().to_owned(), nowhere, link] {
        let error = SqliteStore::builder(&path).open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error}");
    }
}

async fn open(path: &Path) -> SqliteStore {
    SqliteStore::builder(path).open().await.unwrap()
}

async fn assert_refused(path: &Path, why: &str) {
    let before = (fs::read(path).unwrap(), files_beside(path));

    let error = SqliteStore::builder(path).open().await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error}");
    assert!(error.to_string().contains(why), "{error}");
    assert_eq!((fs::read(path).unwrap(), files_beside(path)), before);
}

fn files_beside(path: &Path) -> usize {
    fs::read_dir(path.parent().unwrap()).unwrap().count()
}
