//! A claim of 64 beside the same claim in plain SQL, from a small table and from a big one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connection::ConnectionStore;
use keywheel_connection::conformance::sample;
use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{PostgresOptions, TestDatabase, fixture};
use rusqlite::{TransactionBehavior, params};
use tokio_postgres::{Client, NoTls, Statement};

use crate::table::{Table, Times};

const CLAIM: u32 = 64;
const ROUNDS: usize = 12;
const EACH: usize = 25;
/// So short that what was claimed is due again at once, behind all others.
const SPAN: Duration = Duration::from_micros(1);
const SMALL: usize = 1_000;

pub(crate) async fn postgres(table: &mut Table) {
    let server = Arc::new(PostgresOptions::default().durable().start());
    let small = postgres_of(table, &server, SMALL).await;
    let big = postgres_of(table, &server, crate::rows()).await;
    growth(table, "PostgreSQL", (small, big));
}

pub(crate) async fn sqlite(table: &mut Table) {
    let small = sqlite_of(table, SMALL).await;
    let big = sqlite_of(table, crate::rows()).await;
    growth(table, "SQLite", (small, big));
}

fn growth(table: &mut Table, name: &str, times: (Duration, Duration)) {
    let rows = crate::rows();
    let what = format!("{name}: claim of {CLAIM}, {rows} rows beside {SMALL}");
    table.growth(&what, times, 1.3);
}

async fn postgres_of(
    table: &mut Table,
    server: &Arc<keywheel_testkit::PostgresServer>,
    count: usize,
) -> Duration {
    let database = TestDatabase::on(server);
    let store = PostgresStore::builder(database.url())
        .without_listening()
        .open()
        .await
        .unwrap();
    let (first, entries) = sample::connection(1, "c1");
    store
        .create(&first, Some(SystemClock::new().now()), &entries)
        .await
        .unwrap();
    database.psql(&fixture::copies_in_postgres(first.id, count));
    database.psql("VACUUM ANALYZE");
    database.psql("CHECKPOINT");
    let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
        .await
        .unwrap();
    tokio::spawn(connection);
    let floor_claim = client.prepare(PLAIN).await.unwrap();
    let (mut ours, mut floor) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        for n in 0..EACH {
            let holder = sample::holder(n as u64);
            let claims = ours
                .run(store.claim_due(holder, CLAIM, SPAN))
                .await
                .unwrap();
            assert_eq!(claims.len(), CLAIM as usize);
        }
        for _ in 0..EACH {
            let claims = floor.run(claim(&client, &floor_claim)).await;
            assert_eq!(claims, CLAIM as usize);
        }
    }
    let what = format!("PostgreSQL: claims of {CLAIM} from {count} rows (rows per second)");
    table.speeds(
        &what,
        (ours.speed(CLAIM as usize), floor.speed(CLAIM as usize)),
        0.8,
    );
    ours.median()
}

/// What a careful hand would write for these tables.
const PLAIN: &str = "
    WITH due AS (
        SELECT id FROM keywheel.due WHERE claimable_at <= $1
        ORDER BY claimable_at LIMIT 64 FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE keywheel.due AS queue
        SET fence = fence + 1, holder = $2, leased_at = $1, lease_until = $1 + 1, claimable_at = $1 + 1
        FROM due WHERE queue.id = due.id RETURNING queue.id, queue.fence
    )
    SELECT fence, id, version, record FROM taken JOIN keywheel.connection USING (id)";

async fn claim(client: &Client, statement: &Statement) -> usize {
    let now = SystemClock::new().now().timestamp_micros();
    let holder = uuid::Uuid::from_u128(7);
    let rows = client.query(statement, &[&now, &holder]).await.unwrap();
    // The records are read, and not made into values.
    rows.iter()
        .filter(|row| !row.get::<_, &str>(3).is_empty())
        .count()
}

async fn sqlite_of(table: &mut Table, count: usize) -> Duration {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = SqliteStore::builder(&path).open().await.unwrap();
    let (first, entries) = sample::connection(1, "c1");
    store
        .create(&first, Some(SystemClock::new().now()), &entries)
        .await
        .unwrap();
    let mut plain = open(&path);
    plain
        .execute_batch(&fixture::copies_in_sqlite(first.id, count))
        .unwrap();
    plain
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    let (mut ours, mut floor) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        for n in 0..EACH {
            let holder = sample::holder(n as u64);
            let claims = ours
                .run(store.claim_due(holder, CLAIM, SPAN))
                .await
                .unwrap();
            assert_eq!(claims.len(), CLAIM as usize);
        }
        for _ in 0..EACH {
            let claims = floor.run(async { claim_plainly(&mut plain) }).await;
            assert_eq!(claims, CLAIM as usize);
        }
    }
    let what = format!("SQLite: claims of {CLAIM} from {count} rows (rows per second)");
    table.speeds(
        &what,
        (ours.speed(CLAIM as usize), floor.speed(CLAIM as usize)),
        0.8,
    );
    ours.median()
}

pub(crate) fn open(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -16000; PRAGMA busy_timeout = 30000;",
        )
        .unwrap();
    connection
}

fn claim_plainly(file: &mut rusqlite::Connection) -> usize {
    let now = SystemClock::new().now().timestamp_micros();
    let transaction = file
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    let mut records = 0;
    {
        let mut due = transaction
            .prepare_cached("SELECT row, fence FROM due WHERE claimable_at <= ?1 ORDER BY claimable_at LIMIT 64")
            .unwrap();
        let rows = due
            .query_map([now], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap();
        let rows: Vec<(i64, i64)> = rows.collect::<Result<_, _>>().unwrap();
        let mut update = transaction
            .prepare_cached(
                "UPDATE due SET fence = ?2, holder = ?3, leased_at = ?4, lease_until = ?5, claimable_at = ?5
                 WHERE row = ?1",
            )
            .unwrap();
        let mut read = transaction
            .prepare_cached("SELECT record FROM connection WHERE row = ?1")
            .unwrap();
        for (row, fence) in rows {
            update
                .execute(params![row, fence + 1, [7_u8; 16], now, now + 1])
                .unwrap();
            let record: String = read.query_row([row], |row| row.get(0)).unwrap();
            records += usize::from(!record.is_empty());
        }
    }
    transaction.commit().unwrap();
    records
}
