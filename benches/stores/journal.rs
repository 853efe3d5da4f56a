//! The journal of rotations: four durable saves each, 64 rotations at once, beside a batch of the same rows
//! that was written by hand.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use keywheel_connection::conformance::sample;
use keywheel_connection::{Claimed, ConnectionStore, Entry, LeaseChange, Save};
use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{PostgresOptions, TestDatabase};
use rusqlite::{TransactionBehavior, params};
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

use crate::claims::open;
use crate::table::{Table, Times};

const AT_ONCE: u64 = 64;
const SAVES: u64 = 4;
const ROTATIONS: u64 = 8;
const ROUNDS: usize = 15;
const LEASE: Duration = Duration::from_secs(3_600);

pub(crate) async fn postgres(table: &mut Table) {
    let server = Arc::new(PostgresOptions::default().durable().start());
    let database = TestDatabase::on(&server);
    let store = PostgresStore::builder(database.url())
        .without_listening()
        .open()
        .await
        .unwrap();
    let claims = prepare(&store).await;
    let plain = TestDatabase::on(&server);
    let other = PostgresStore::builder(plain.url())
        .without_listening()
        .open()
        .await
        .unwrap();
    let mut floor_claims = prepare(&other).await;
    let (client, connection) = tokio_postgres::connect(&plain.url(), NoTls).await.unwrap();
    tokio::spawn(connection);
    let statement = client.prepare(PLAIN).await.unwrap();
    let (mut ours, mut floor) = (Times::default(), Times::default());
    let mut claims = claims;
    for _ in 0..ROUNDS {
        claims = ours.run(rotate_all(&store, claims)).await;
        floor
            .run(async {
                for _ in 0..ROTATIONS * SAVES {
                    write(&client, &statement, &batch(&mut floor_claims)).await;
                }
            })
            .await;
    }
    report(table, "PostgreSQL", (&ours, &floor));
}

pub(crate) async fn sqlite(table: &mut Table) {
    let directory = tempfile::tempdir().unwrap();
    let store = SqliteStore::builder(directory.path().join("ours.db"))
        .open()
        .await
        .unwrap();
    let mut claims = prepare(&store).await;
    let path = directory.path().join("plain.db");
    let other = SqliteStore::builder(&path).open().await.unwrap();
    let mut floor_claims = prepare(&other).await;
    let mut plain = open(&path);
    let (mut ours, mut floor) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        claims = ours.run(rotate_all(&store, claims)).await;
        floor
            .run(async {
                for _ in 0..ROTATIONS * SAVES {
                    write_to_file(&mut plain, &batch(&mut floor_claims));
                }
            })
            .await;
    }
    report(table, "SQLite", (&ours, &floor));
}

fn report(table: &mut Table, name: &str, (ours, floor): (&Times, &Times)) {
    let count = usize::try_from(AT_ONCE * ROTATIONS).unwrap();
    let what = format!("{name}: journal of rotations, {AT_ONCE} at once (rotations per second)");
    table.speeds(&what, (ours.speed(count), floor.speed(count)), 0.8);
}

/// Stores connections and takes their leases.
async fn prepare(store: &dyn ConnectionStore) -> Vec<Claimed> {
    let now = SystemClock::new().now();
    for n in 0..AT_ONCE {
        let (connection, entries) = sample::rotating(n, &format!("c{n}"));
        store
            .create(&connection, Some(now), &entries)
            .await
            .unwrap();
    }
    store.claim_due(sample::holder(1), 64, LEASE).await.unwrap()
}

/// Runs all rotations of a round, those of one connection one after the other.
async fn rotate_all(store: &dyn ConnectionStore, claims: Vec<Claimed>) -> Vec<Claimed> {
    let rotations = claims.into_iter().map(|mut claimed| async move {
        for _ in 0..ROTATIONS * SAVES {
            let connection = Arc::make_mut(&mut claimed.stored.connection);
            let entries = [sample::change(connection, "step")];
            let save = Save::new(connection, claimed.stored.version, &entries);
            let save = save.under(&claimed.lease, LeaseChange::Extend(LEASE));
            claimed.stored.version = store.save(save).await.unwrap();
        }
        claimed
    });
    join_all(rotations).await
}

/// A save of each connection, ready to be written.
struct Batch {
    ids: Vec<Uuid>,
    records: Vec<String>,
    entries: Vec<Entry>,
}

/// Makes the same rows from the same records as a save does.
fn batch(claims: &mut [Claimed]) -> Batch {
    let entries = claims
        .iter_mut()
        .map(|claimed| sample::change(Arc::make_mut(&mut claimed.stored.connection), "step"));
    let entries = entries.collect();
    let connections = || claims.iter().map(|claimed| &claimed.stored.connection);
    Batch {
        entries,
        ids: connections()
            .map(|connection| *connection.id.as_uuid())
            .collect(),
        records: connections()
            .map(|connection| connection.encode())
            .collect(),
    }
}

/// What a careful hand would write for these tables: as fenced, and nothing else.
const PLAIN: &str = "
    WITH input AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::bytea[])
            AS input (id, record, seq, body, digest)
    ), leased AS (
        UPDATE keywheel.due SET version = version + 1, leased_at = $6, lease_until = $6 + 3600000000
        FROM input WHERE due.id = input.id AND fence = 1 RETURNING due.id
    ), saved AS (
        UPDATE keywheel.connection SET version = version + 1, record = input.record
        FROM input JOIN leased USING (id) WHERE connection.id = input.id RETURNING connection.id
    )
    INSERT INTO keywheel.journal (connection, seq, body, digest)
    SELECT id, seq, body, digest FROM input JOIN saved USING (id)";

async fn write(client: &Client, statement: &Statement, batch: &Batch) {
    let now = SystemClock::new().now().timestamp_micros();
    let entries = || batch.entries.iter();
    let seqs: Vec<i64> = entries()
        .map(|entry| i64::try_from(entry.seq).unwrap())
        .collect();
    let bodies: Vec<&str> = entries().map(|entry| entry.body.as_str()).collect();
    let digests: Vec<&[u8]> = entries()
        .map(|entry| entry.digest.as_bytes().as_slice())
        .collect();
    let written = client
        .execute(
            statement,
            &[&batch.ids, &batch.records, &seqs, &bodies, &digests, &now],
        )
        .await
        .unwrap();
    assert_eq!(written, AT_ONCE);
}

fn write_to_file(file: &mut rusqlite::Connection, batch: &Batch) {
    let now = SystemClock::new().now().timestamp_micros();
    let transaction = file
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .unwrap();
    {
        let mut find = transaction
            .prepare_cached(
                "SELECT row FROM connection JOIN due USING (row) WHERE id = ?1 AND fence = 1",
            )
            .unwrap();
        let mut save = transaction
            .prepare_cached(
                "UPDATE connection SET version = version + 1, record = ?2 WHERE row = ?1",
            )
            .unwrap();
        let mut lease = transaction
            .prepare_cached(
                "UPDATE due SET leased_at = ?2, lease_until = ?3, claimable_at = ?3 WHERE row = ?1",
            )
            .unwrap();
        let mut append = transaction
            .prepare_cached(
                "INSERT INTO journal (connection, seq, body, digest) VALUES (?1, ?2, ?3, ?4)",
            )
            .unwrap();
        for ((id, record), entry) in batch.ids.iter().zip(&batch.records).zip(&batch.entries) {
            let row: i64 = find.query_row([id.as_bytes()], |row| row.get(0)).unwrap();
            save.execute(params![row, record]).unwrap();
            lease.execute([row, now, now + 3_600_000_000]).unwrap();
            let seq = i64::try_from(entry.seq).unwrap();
            append
                .execute(params![
                    id.as_bytes(),
                    seq,
                    entry.body,
                    entry.digest.as_bytes()
                ])
                .unwrap();
        }
    }
    transaction.commit().unwrap();
}
