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

pub async fn postgres(database: &TestDatabase, jobs: usize, batch: u32) -> Duration {
    let store = PostgresStore::builder(database.url()).without_listening();
    let store = store.open().await.unwrap();
    let (first, entries) = sample::connection(1, "c1");
    let now = SystemClock::new().now();
    store.create(&first, Some(now), &entries).await.unwrap();
    database.psql(&fixture::copies_in_postgres(first.id, jobs));
    run(&store, jobs, batch).await
}

pub async fn sqlite(jobs: usize, batch: u32) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = SqliteStore::builder(&path).open().await.unwrap();
    let (first, entries) = sample::connection(1, "c1");
    let now = SystemClock::new().now();
    store.create(&first, Some(now), &entries).await.unwrap();
    let file = rusqlite::Connection::open(&path).unwrap();
    file.execute_batch(&fixture::copies_in_sqlite(first.id, jobs)).unwrap();
    drop(file);
    run(&store, jobs, batch).await
}

/// Two workers, so that one claims while the other's jobs are completed.
async fn run(store: &dyn ConnectionStore, jobs: usize, batch: u32) -> Duration {
    let begun = Instant::now();
    let (mine, yours) = futures_util::future::join(work(store, batch), work(store, batch)).await;
    let took = begun.elapsed();
    assert_eq!(mine + yours, jobs);
    took
}

async fn work(store: &dyn ConnectionStore, batch: u32) -> usize {
    let holder = sample::holder(u64::from(batch));
    let mut done = 0;
    loop {
        let claims = store.claim_due(holder, batch, Duration::from_secs(600)).await.unwrap();
        if claims.is_empty() {
            return done;
        }
        done += claims.len();
        join_all(claims.into_iter().map(|claimed| complete(store, claimed))).await;
    }
}

/// Writes the record, an entry for the journal, and gives the lease back.
async fn complete(store: &dyn ConnectionStore, claimed: Claimed) {
    let mut connection = Arc::unwrap_or_clone(claimed.stored.connection);
    let entries = [sample::change(&mut connection, "done")];
    let save = Save::new(&connection, claimed.stored.version, &entries).wake_at(None);
    store.save(save.under(&claimed.lease, LeaseChange::Release)).await.unwrap();
}
