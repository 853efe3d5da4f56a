//! What disks and permissions do to a store.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use keywheel_connection::conformance::sample;
use keywheel_connection::{ConnectionStore, StoreErrorKind};
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{Child, check_full_disk};

/// It says so, loses nothing, and goes on when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_loses_nothing() {
    let child = Child::start_on_small_disk("disks::fills_the_disk", 4);
    tokio::task::spawn_blocking(|| child.finish())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn fills_the_disk() {
    Child::started();
    let disk = PathBuf::from(Child::argument());
    let ballast = disk.join("ballast");
    fs::write(&ballast, vec![1; 1_000_000]).unwrap();
    let store = SqliteStore::builder(disk.join("keywheel.db"))
        .open()
        .await
        .unwrap();

    check_full_disk(&store, &ballast, || "x".repeat(50_000)).await;
}

/// As an ordinary user; root may write everywhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cant_be_written_is_not_opened() {
    let child = Child::start_on_small_disk("disks::finds_a_read_only_file", 4);
    tokio::task::spawn_blocking(|| child.finish())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn finds_a_read_only_file() {
    Child::started();
    let disk = PathBuf::from(Child::argument());
    let path = disk.join("keywheel.db");
    let open = || SqliteStore::builder(&path).open();
    let store = open().await.unwrap();
    let (connection, entries) = sample::connection(1, "c1");
    store.create(&connection, None, &entries).await.unwrap();
    store.close().await;

    // The file alone, the directory alone, and a file that may not even be read.
    for (n, file, directory) in [(2, 0o400, 0o700), (3, 0o600, 0o500), (4, 0o000, 0o700)] {
        allow(&path, file);
        allow(&disk, directory);

        let error = open().await.unwrap_err();

        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{file:o}");
        let told = error.to_string().contains("permissions");
        assert!(told, "{file:o}: {error}");
        allow(&disk, 0o700);
        allow(&path, 0o600);
        let store = open().await.unwrap();
        let (other, entries) = sample::connection(n, &format!("c{n}"));
        store.create(&other, None, &entries).await.unwrap();
        assert!(store.load(connection.id).await.unwrap().is_some());
        store.close().await;
    }
}

/// Where it has to be opened again, that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_goes_on_by_itself_once_its_file_can_be_written_again() {
    let child = Child::start_on_small_disk("disks::finds_its_file_read_only", 4);
    tokio::task::spawn_blocking(|| child.finish())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn finds_its_file_read_only() {
    Child::started();
    let disk = PathBuf::from(Child::argument());
    let path = disk.join("keywheel.db");
    let store = SqliteStore::builder(&path).open().await.unwrap();
    let (connection, entries) = sample::connection(1, "c1");
    store.create(&connection, None, &entries).await.unwrap();
    // A fault, after which the store opens its file again.
    let ballast = disk.join("ballast");
    let mut room = fs::File::create(&ballast).unwrap();
    while room.write_all(&[1; 4_096]).is_ok() {}
    let (other, entries) = sample::connection(2, "c2");
    let error = store.create(&other, None, &entries).await.unwrap_err();
    assert!(error.to_string().contains("disk is full"), "{error}");
    allow(&path, 0o400);
    fs::remove_file(ballast).unwrap();

    for _ in 0..2 {
        let error = store.create(&other, None, &entries).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        assert!(error.to_string().contains("permissions"), "{error}");
        let error = store.load(connection.id).await.unwrap_err();
        assert!(error.to_string().contains("permissions"), "{error}");
    }

    allow(&path, 0o600);
    store.create(&other, None, &entries).await.unwrap();
    assert!(store.load(connection.id).await.unwrap().is_some());
}

fn allow(path: &Path, mode: u32) {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
    fs::set_permissions(path, mode).unwrap();
}
