//! What no caller of the store can see or do.

use chrono::{DateTime, Utc};
use keywheel_connection::ConnectionStore;
use keywheel_connection::conformance::sample;
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{TestDatabase, fixture};

pub(crate) async fn open(database: &TestDatabase) -> PostgresStore {
    keywheel_testkit::watch_logs();
    let store = PostgresStore::builder(database.url());
    store.open().await.unwrap()
}

/// Runs SQL behind the store's back, which names the tables alone.
pub(crate) fn run(database: &TestDatabase, sql: &str) {
    database.psql(&format!("SET search_path TO keywheel; {sql}"));
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
