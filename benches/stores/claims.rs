//! A claim of 64 beside the same claim in plain SQL, from a small table and from a big one.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connection::conformance::sample;
use keywheel_connection::{ConnectionId, ConnectionStore};
use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{PostgresOptions, TestDatabase, fixture};
use rusqlite::{TransactionBehavior, params};
use tempfile::TempDir;
use tokio_postgres::{Client, NoTls, Statement};

use crate::table::{Table, Times};

const CLAIM: u32 = 64;
/// The small table and the big one take turns as well: what the server does beside meets both.
const ROUNDS: usize = 24;
const EACH: u64 = 25;
/// So short that what was claimed is due again at once, behind all others.
const SPAN: Duration = Duration::from_micros(1);
const SMALL: usize = 1_000;

pub(crate) async fn postgres(table: &mut Table) {
    let server = Arc::new(PostgresOptions::default().durable().start());
    let mut small = Postgres::of(&server, SMALL).await;
    let mut big = Postgres::of(&server, crate::rows()).await;
    for _ in 0..ROUNDS {
        small.round().await;
        big.round().await;
    }
    report(table, "PostgreSQL", [&small.contest, &big.contest]);
}

pub(crate) async fn sqlite(table: &mut Table) {
    let mut small = Sqlite::of(SMALL).await;
    let mut big = Sqlite::of(crate::rows()).await;
    for _ in 0..ROUNDS {
        small.round().await;
        big.round().await;
    }
    report(table, "SQLite", [&small.contest, &big.contest]);
}

/// Times from a table of so many rows.
#[derive(Debug)]
struct Contest {
    rows: usize,
    ours: Times,
    floor: Times,
}

impl Contest {
    fn of(rows: usize) -> Self {
        let (ours, floor) = (Times::default(), Times::default());
        Self { rows, ours, floor }
    }

    /// Makes a few claims through the store.
    async fn ours(&mut self, store: &dyn ConnectionStore) {
        for n in 0..EACH {
            let claim = store.claim_due(sample::holder(n), CLAIM, SPAN);
            assert_eq!(self.ours.run(claim).await.unwrap().len(), CLAIM as usize);
        }
    }
}

fn report(table: &mut Table, name: &str, [small, big]: [&Contest; 2]) {
    for Contest { rows, ours, floor } in [small, big] {
        let what = format!("{name}: claims of {CLAIM} from {rows} rows (rows per second)");
        let speeds = (ours.speed(CLAIM as usize), floor.speed(CLAIM as usize));
        table.speeds(&what, speeds, 0.8);
    }
    let what = format!(
        "{name}: claim of {CLAIM}, {} rows beside {}",
        big.rows, small.rows
    );
    table.growth(&what, (small.ours.median(), big.ours.median()), 1.3);
}

struct Postgres {
    contest: Contest,
    store: PostgresStore,
    client: Client,
    floor_claim: Statement,
    _database: TestDatabase,
}

impl Postgres {
    async fn of(server: &Arc<keywheel_testkit::PostgresServer>, rows: usize) -> Self {
        let database = TestDatabase::on(server);
        let store = PostgresStore::builder(database.url())
            .without_listening()
            .open()
            .await
            .unwrap();
        let first = create(&store).await;
        database.psql(&fixture::copies_in_postgres(first, rows));
        database.psql("VACUUM ANALYZE");
        database.psql("CHECKPOINT");
        let (client, connection) = tokio_postgres::connect(&database.url(), NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        Self {
            contest: Contest::of(rows),
            store,
            floor_claim: client.prepare(PLAIN).await.unwrap(),
            client,
            _database: database,
        }
    }

    async fn round(&mut self) {
        self.contest.ours(&self.store).await;
        for _ in 0..EACH {
            let claim = claim(&self.client, &self.floor_claim);
            assert_eq!(self.contest.floor.run(claim).await, CLAIM as usize);
        }
    }
}

/// Stores the connection that the others are copies of.
async fn create(store: &dyn ConnectionStore) -> ConnectionId {
    let (first, entries) = sample::connection(1, "c1");
    let now = SystemClock::new().now();
    store.create(&first, Some(now), &entries).await.unwrap();
    first.id
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

struct Sqlite {
    contest: Contest,
    store: SqliteStore,
    plain: rusqlite::Connection,
    _directory: TempDir,
}

impl Sqlite {
    async fn of(rows: usize) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keywheel.db");
        let store = SqliteStore::builder(&path).open().await.unwrap();
        let first = create(&store).await;
        let plain = open(&path);
        plain
            .execute_batch(&fixture::copies_in_sqlite(first, rows))
            .unwrap();
        plain
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .unwrap();
        Self {
            contest: Contest::of(rows),
            store,
            plain,
            _directory: directory,
        }
    }

    async fn round(&mut self) {
        self.contest.ours(&self.store).await;
        for _ in 0..EACH {
            let claim = async { claim_plainly(&mut self.plain) };
            assert_eq!(self.contest.floor.run(claim).await, CLAIM as usize);
        }
    }
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
