use std::fs;
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

#[tokio::test]
async fn a_place_where_no_file_can_be_is_refused() {
    let directory = tempfile::tempdir().unwrap();

    for path in [
        directory.path().to_owned(),
        directory.path().join("nowhere/keywheel.db"),
    ] {
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
