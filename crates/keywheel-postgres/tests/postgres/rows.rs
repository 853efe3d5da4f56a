//! What no caller of the store can see or do.

use std::ops::RangeBounds;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::ConnectionStore;
use keywheel_connection::conformance::sample;
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{PostgresServer, TestDatabase, fixture};
use tokio::time::timeout;
use tokio_postgres::{Client, NoTls};

pub(crate) async fn open(database: &TestDatabase) -> PostgresStore {
    keywheel_testkit::watch_logs();
    let store = PostgresStore::builder(database.url());
    store.open().await.unwrap()
}

/// Runs SQL behind the store's back, which names the tables alone.
pub(crate) fn run(database: &TestDatabase, sql: &str) {
    database.psql(&format!("SET search_path TO keywheel; {sql}"));
}

/// Somebody else's connection to the database, which lasts until it is dropped.
pub(crate) async fn session(database: &TestDatabase) -> Client {
    session_at(&database.url()).await
}

pub(crate) async fn session_at(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

/// Asks for a number until it is one of these.
async fn wait_until(
    session: &Client,
    sql: &str,
    numbers: impl RangeBounds<i64> + Send + Sync,
    otherwise: &str,
) {
    let number = async || session.query_one(sql, &[]).await.unwrap().get(0);
    let wait = async { while !numbers.contains(&number().await) {} };
    timeout(Duration::from_secs(60), wait)
        .await
        .expect(otherwise);
}

/// Waits until so many transactions wait for what others have locked.
pub(crate) async fn wait_for_blocked(database: &TestDatabase, count: i64) {
    let session = session(database).await;
    let blocked = "SELECT count(*) FROM pg_stat_activity
                   WHERE wait_event_type = 'Lock' AND datname = current_database()";
    wait_until(&session, blocked, count.., "nobody waits").await;
}

/// Waits until somebody waits for what others have locked, in the session's database or another one of its server.
pub(crate) async fn wait_for_lock(session: &Client) {
    let blocked = "SELECT count(*) FROM pg_locks WHERE NOT granted";
    wait_until(session, blocked, 1.., "nobody waits").await;
}

/// Waits until a statement has waited for so long for what others have locked.
pub(crate) async fn wait_for_blocked_for(database: &TestDatabase, time: Duration) {
    let session = session(database).await;
    session
        .batch_execute("SET statement_timeout = 0")
        .await
        .unwrap();
    let blocked = format!(
        "SELECT count(*) FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND datname = current_database()
             AND clock_timestamp() - query_start > '{} ms'",
        time.as_millis()
    );
    wait_until(&session, &blocked, 1.., "nobody waits so long").await;
}

/// Waits until the sessions of all stores have ended.
pub(crate) async fn wait_until_closed(database: &TestDatabase) {
    let session = session(database).await;
    let open = "SELECT count(*) FROM pg_stat_activity
                WHERE application_name = 'keywheel' AND datname = current_database()";
    wait_until(&session, open, ..=0, "a session stays").await;
}

/// Lets a server accept writes or not. Sessions go on, and see it at their next statement.
pub(crate) async fn set_read_only(server: &PostgresServer, mode: &str) {
    // Which a read-only server allows.
    let set = format!("ALTER SYSTEM SET default_transaction_read_only = {mode}");
    server.psql("postgres", &set);
    server.psql("postgres", "SELECT pg_reload_conf()");
    let wait = async {
        let show = "SHOW default_transaction_read_only";
        while server.psql("postgres", show).trim() != mode {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), wait)
        .await
        .expect("the server keeps its settings");
}

/// Lets the stores' clock show another time than the server's.
pub(crate) fn let_clock_step(database: &TestDatabase) {
    database.psql(
        "CREATE TABLE step AS SELECT 0::bigint AS micros;
         CREATE OR REPLACE FUNCTION keywheel.now_micros() RETURNS bigint LANGUAGE sql VOLATILE AS
         'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
              + (SELECT micros FROM public.step)'",
    );
}

pub(crate) fn step_clock(database: &TestDatabase, by: TimeDelta) {
    let micros = by.num_microseconds().unwrap();
    database.psql(&format!("UPDATE step SET micros = micros + {micros}"));
}

/// Stores so many connections, all of which wake then: one through the store, the others copied from it.
pub(crate) async fn fill(
    store: &PostgresStore,
    database: &TestDatabase,
    count: usize,
    wake_at: Option<DateTime<Utc>>,
) {
    let (first, entries) = sample::connection(1, "c1");
    store.create(&first, wake_at, &entries).await.unwrap();
    let copies = fixture::copies_in_postgres(first.id, count);
    database.psql(&copies);
}

/// Checks a database that is under the testkit's load: every save was made whole or not at all.
pub(crate) fn assert_no_halves(database: &TestDatabase) {
    let halves = database.psql(
        "SELECT name || ': ' || record
        FROM keywheel.connection AS connection FULL JOIN keywheel.due AS due USING (id)
        WHERE due.id IS NULL OR connection.id IS NULL OR connection.version <> due.version
            OR name LIKE 'saver-%' AND wake_at <> due.version * 1000000
            OR (record::json #>> '{journal,seq}')::bigint <> 2 * due.version - 1
            OR 2 * due.version - 1
                <> (SELECT count(*) FROM keywheel.journal WHERE journal.connection = due.id)
            OR 2 * due.version - 1
                <> (SELECT max(seq) FROM keywheel.journal WHERE journal.connection = due.id)
        UNION ALL SELECT 'gone and there: ' || name FROM keywheel.tombstone
            WHERE id IN (SELECT id FROM keywheel.connection)
        UNION ALL SELECT 'gone by halves: ' || name FROM keywheel.tombstone
            WHERE seq <> (SELECT count(*) FROM keywheel.journal WHERE journal.connection = id)
        UNION ALL SELECT 'nobody''s entry ' || position FROM keywheel.journal
            WHERE connection NOT IN (SELECT id FROM keywheel.connection
                UNION SELECT id FROM keywheel.tombstone)",
    );
    assert_eq!(halves, "");
}
