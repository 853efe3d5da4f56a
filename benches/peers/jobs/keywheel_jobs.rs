use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use keywheel_connection::conformance::sample;
use keywheel_connection::{Claimed, ConnectionStore, LeaseChange, Save};
use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{TestDatabase, fixture};
use tokio::time::Instant;

/// What a job's completion writes besides its due time and its record.
#[derive(Clone, Copy, Debug)]
pub enum Journal {
    /// Nothing, as in apalis.
    Nothing,
    /// An entry, as each step of a rotation does.
    Entry,
}

pub async fn postgres(database: &TestDatabase, journal: Journal, jobs: usize, batch: u32) -> Duration {
    let store = PostgresStore::builder(database.url()).without_listening();
    let store = store.open().await.unwrap();
    let (first, entries) = sample::connection(1, "c1");
    let now = SystemClock::new().now();
    store.create(&first, Some(now), &entries).await.unwrap();
    database.psql(&fixture::copies_in_postgres(first.id, jobs));
    run(&store, journal, jobs, batch).await
}

pub async fn sqlite(journal: Journal, jobs: usize, batch: u32) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = SqliteStore::builder(&path).open().await.unwrap();
    let (first, entries) = sample::connection(1, "c1");
    let now = SystemClock::new().now();
    store.create(&first, Some(now), &entries).await.unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(&fixture::copies_in_sqlite(first.id, jobs)).unwrap();
    drop(file);
    run(&store, journal, jobs, batch).await
}

/// Two workers, so that one claims while the other's jobs are completed.
async fn run(store: &dyn ConnectionStore, journal: Journal, jobs: usize, batch: u32) -> Duration {
    let begun = Instant::now();
    let (mine, yours) = futures_util::future::join(work(store, journal, batch), work(store, journal, batch)).await;
    let took = begun.elapsed();
    assert_eq!(mine + yours, jobs);
    took
}

async fn work(store: &dyn ConnectionStore, journal: Journal, batch: u32) -> usize {
    let holder = sample::holder(u64::from(batch));
    let mut done = 0;
    loop {
        let claims = store.claim_due(holder, batch, Duration::from_secs(600)).await.unwrap();
        if claims.is_empty() {
            return done;
        }
        done += claims.len();
        join_all(claims.into_iter().map(|claimed| complete(store, journal, claimed))).await;
    }
}

/// Writes the record, and what the journal is to have, and gives the lease back.
async fn complete(store: &dyn ConnectionStore, journal: Journal, claimed: Claimed) {
    let mut connection = Arc::unwrap_or_clone(claimed.stored.connection);
    let entries = match journal {
        Journal::Nothing => Vec::new(),
        Journal::Entry => vec![sample::change(&mut connection, "done")],
    };
    let save = Save::new(&connection, claimed.stored.version, &entries).wake_at(None);
    store.save(save.under(&claimed.lease, LeaseChange::Release)).await.unwrap();
}
