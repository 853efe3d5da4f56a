//! What disks and permissions do to a store.

use std::fs;
use std::path::PathBuf;

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
    let allow = |path: &PathBuf, mode: u32| {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(mode);
        fs::set_permissions(path, mode).unwrap();
    };

    // The file alone, the directory alone, and a file that may not even be read.
    for (file, directory) in [(0o400, 0o700), (0o600, 0o500), (0o000, 0o700)] {
        allow(&path, file);
        allow(&disk, directory);
        // What can be read may be opened; a write then says why not.
        let error = match open().await {
            Ok(store) => {
                let (connection, entries) = sample::connection(2, "c2");
                store.create(&connection, None, &entries).await.unwrap_err()
            }
            Err(error) => error,
        };
        assert_eq!(
            error.kind(),
            StoreErrorKind::Unavailable,
            "{file:o}: {error:?}"
        );
        assert!(
            error.to_string().contains("permissions"),
            "{file:o}: {error}"
        );
        allow(&disk, 0o700);
        allow(&path, 0o600);
        assert!(
            open()
                .await
                .unwrap()
                .load(connection.id)
                .await
                .unwrap()
                .is_some()
        );
    }
}
