//! What is in the file, and what becomes of it.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::{join_all, poll_immediate};
use keywheel_connection::conformance::sample;
use keywheel_connection::{
    ConnectionStore, ConnectionStoreExt, Fence, Page, Save, StoreErrorKind, Version,
};
use keywheel_core::{Clock, SystemClock};
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{MEDDLING, Secrets, cases, check_damaged_records, check_meddling, fixture};

use crate::rows;

/// Neither the database and its log nor a backup.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_shows_a_secret() {
    let directory = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&directory.path().join("keywheel.db")).await);
    let secrets = Secrets::put_into(store.clone()).await;
    store
        .back_up(directory.path().join("backup.db"))
        .await
        .unwrap();

    let searched = secrets.assert_absent_below(directory.path());

    println!("{searched} bytes searched");
    assert!(searched > 200_000, "{searched}");
    store.close().await;
    secrets.assert_absent_below(directory.path());
}

/// The copy is whole and stands for itself, while others write.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_the_store_of_one_moment() {
    let directory = tempfile::tempdir().unwrap();
    let (path, copy) = (
        directory.path().join("keywheel.db"),
        directory.path().join("copy.db"),
    );
    let store = open(&path).await;
    let acks = keywheel_testkit::Acks::default();
    let report = {
        let acks = acks.clone();
        move |ack| acks.add(ack)
    };
    let load = tokio::spawn(keywheel_testkit::load(Arc::new(store.clone()), report));
    while acks.writes() < 100 {
        tokio::task::yield_now().await;
    }
    let before = acks.snapshot();

    store.back_up(&copy).await.unwrap();

    load.abort();
    rows::assert_no_halves(&copy);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&copy).unwrap());
    assert_eq!(mode & 0o777, 0o600);
    let restored = open(&copy).await;
    before.check(&restored).await;
    for stored in restored.list(Page::of_all(1_000)).await.unwrap() {
        restored.verify(stored.connection.id).await.unwrap();
    }
    let error = store.back_up(&copy).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error}");
}

/// However many open it at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_file_is_migrated_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");

    let opened = (0..12).map(|_| tokio::spawn(SqliteStore::builder(&path).open()));
    let opened = join_all(opened).await;

    for (n, store) in (0..).zip(opened) {
        let (connection, entries) = sample::connection(n, &format!("c{n}"));
        let store = store.unwrap().unwrap();
        store.create(&connection, None, &entries).await.unwrap();
    }
}

/// Read, written and claimed as one of today.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_of_every_earlier_version_is_brought_up_to_date() {
    let files: [(i32, &[u8]); 3] = [
        (1, include_bytes!("fixtures/v1.sqlite")),
        (2, include_bytes!("fixtures/v2.sqlite")),
        (3, include_bytes!("fixtures/v3.sqlite")),
    ];
    for (version, file) in files {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keywheel.db");
        fs::write(&path, file).unwrap();
        let found: i32 = rows::open(&path)
            .query_row("PRAGMA user_version", [], |row| row.get(0))
            .unwrap();
        assert_eq!(found, version);

        let store = open(&path).await;

        fixture::check(&store).await;
    }
}

/// Writes the fixture of this version, when a new one begins: run it alone, and commit the file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "writes a fixture"]
async fn writes_the_fixture() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = open(&path).await;
    fixture::fill(&store).await;
    store.close().await;
    let fixtures = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/sqlite/fixtures/v3.sqlite"
    );
    fs::copy(path, fixtures).unwrap();
}

/// It is passed over, not in the way, and named where it alone is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cant_be_read_spoils_no_other() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = open(&path).await;

    let run = |sql: &str| rows::open(&path).execute_batch(sql).unwrap();
    check_damaged_records(Arc::new(store), run).await;
}

/// Whatever was done to it behind our back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_was_meddled_with_does_not_verify() {
    for meddling in MEDDLING {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keywheel.db");
        let store = open(&path).await;

        let run = |sql: &str| rows::open(&path).execute_batch(sql).unwrap();
        check_meddling(&store, meddling, run).await;
    }
}

/// However many connections there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_writes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = open(&path).await;
    let tomorrow = SystemClock::new().now() + TimeDelta::days(1);
    rows::fill(
        &store,
        &path,
        cases(20_000, 100_000) as usize,
        Some(tomorrow),
    )
    .await;
    let log = path.with_extension("db-wal");
    let before = fs::metadata(&log).unwrap().len();

    for n in 0..20 {
        let due = store
            .claim_due(sample::holder(n), 64, Duration::from_secs(60))
            .await;
        assert_eq!(due.unwrap(), []);
    }

    assert_eq!(fs::metadata(&log).unwrap().len(), before);
}

/// Although its records are decoded before: the next claim finds everything as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_whose_commit_fails_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = open(&path).await;
    rows::fill(&store, &path, 10, Some(SystemClock::new().now())).await;
    let claim = || store.claim_due(sample::holder(1), 64, Duration::from_secs(60));
    // A reference to what is absent, which SQLite looks for no sooner than at the commit.
    let refuse = "CREATE TABLE absent (row INTEGER PRIMARY KEY);
        CREATE TABLE refusal (row REFERENCES absent DEFERRABLE INITIALLY DEFERRED);
        CREATE TRIGGER refuse AFTER UPDATE ON due BEGIN INSERT INTO refusal VALUES (NEW.row); END";
    rows::open(&path).execute_batch(refuse).unwrap();

    let error = claim().await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::Corrupt, "{error}");
    rows::open(&path)
        .execute_batch("DROP TRIGGER refuse")
        .unwrap();
    let fences = claim()
        .await
        .unwrap()
        .into_iter()
        .map(|claimed| claimed.lease.fence);
    assert_eq!(fences.collect::<Vec<_>>(), [Fence(1); 10]);
}

/// What reads does not wait for what writes, and what writes does not wait for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_another_process_writes_reads_go_on_and_writes_say_why_they_fail() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = SqliteStore::builder(&path).busy_timeout(Duration::from_millis(20));
    let store = store.open().await.unwrap();
    let [(first, ours), (second, entries)] =
        [1, 2].map(|n| sample::connection(n, &format!("c{n}")));
    store.create(&first, None, &ours).await.unwrap();
    let other = rows::open(&path);
    other
        .execute_batch("BEGIN IMMEDIATE; UPDATE connection SET version = 7")
        .unwrap();

    for _ in 0..2 {
        let error = store.create(&second, None, &entries).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error}");
        let why = "another process keeps it locked";
        assert!(error.to_string().contains(why), "{error}");
        let read = store.load(first.id).await.unwrap().unwrap();
        assert_eq!(read.version, Version(1));
        assert_eq!(store.journal(first.id, 0, 10).await.unwrap(), ours);
    }

    other.execute_batch("ROLLBACK").unwrap();
    store.create(&second, None, &entries).await.unwrap();
}

/// What is saved while another commit runs goes into the next one together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saves_at_the_same_time_share_commits() {
    const SAVES: u64 = 128;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = open(&path).await;
    let mut stored = Vec::new();
    for n in 0..SAVES {
        let (mut connection, entries) = sample::connection(n, &format!("c{n}"));
        let version = store.create(&connection, None, &entries).await.unwrap();
        let entries = [sample::change(&mut connection, "shared")];
        stored.push((connection, version, entries));
    }
    let before = commits(&path);

    let saves = stored
        .iter()
        .map(|(connection, version, entries)| store.save(Save::new(connection, *version, entries)));
    let mut saves = join_all(saves);
    // Another commit: all of them are there before it ends, however slow the machine is.
    let other = rows::open(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert!(poll_immediate(&mut saves).await.is_none());
    other.execute_batch("ROLLBACK").unwrap();
    let saves = saves.await;

    assert!(saves.iter().all(Result::is_ok));
    let commits = commits(&path) - before;
    println!("{SAVES} saves made {commits} commits");
    // Those that the writer had taken already, and the rest.
    assert!((1..=2).contains(&commits), "{commits}");
}

/// Counts the transactions in the log (<https://www.sqlite.org/fileformat2.html#the_write_ahead_log>): the
/// frames that say how big the database is after them. None is overwritten while the log is short.
fn commits(path: &Path) -> usize {
    let log = fs::read(path.with_extension("db-wal")).unwrap();
    let frames = log[32..].chunks_exact(24 + 4_096);
    frames.filter(|frame| frame[4..8] != [0; 4]).count()
}

async fn open(path: &Path) -> SqliteStore {
    keywheel_testkit::watch_logs();
    SqliteStore::builder(path).open().await.unwrap()
}
