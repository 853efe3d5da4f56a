//! What no caller of the store can see or do.

use std::path::Path;

use chrono::{DateTime, Utc};
use keywheel_connection::ConnectionStore;
use keywheel_connection::conformance::sample;
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::fixture;

pub(crate) fn open(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .busy_timeout(std::time::Duration::from_secs(30))
        .unwrap();
    connection
}

/// Stores so many connections, all of which wake then: one through the store, the others copied from it.
pub(crate) async fn fill(
    store: &SqliteStore,
    path: &Path,
    count: usize,
    wake_at: Option<DateTime<Utc>>,
) {
    let (first, entries) = sample::connection(1, "c1");
    store.create(&first, wake_at, &entries).await.unwrap();
    let copies = fixture::copies_in_sqlite(first.id, count);
    open(path).execute_batch(&copies).unwrap();
}

/// Checks a file that was under the testkit's load: every save was made whole or not at all.
pub(crate) fn assert_no_halves(path: &Path) {
    let halves = "
        SELECT name || ': ' || record FROM connection LEFT JOIN due USING (row)
        WHERE due.row IS NULL
            OR name LIKE 'saver-%' AND wake_at <> version * 1000000
            OR json_extract(record, '$.journal.seq') <> 2 * version - 1
            OR 2 * version - 1 <> (SELECT count(*) FROM journal WHERE journal.connection = id)
            OR 2 * version - 1 <> (SELECT max(seq) FROM journal WHERE journal.connection = id)
        UNION ALL SELECT 'lease of nothing ' || row FROM due WHERE row NOT IN (SELECT row FROM connection)
        UNION ALL SELECT 'gone and there: ' || name FROM tombstone
            WHERE id IN (SELECT id FROM connection)
        UNION ALL SELECT 'gone by halves: ' || name FROM tombstone
            WHERE seq <> (SELECT count(*) FROM journal WHERE journal.connection = id)
        UNION ALL SELECT 'nobody''s entry ' || position FROM journal
            WHERE connection NOT IN (SELECT id FROM connection UNION SELECT id FROM tombstone)
        UNION ALL SELECT 'damaged: ' || quick_check FROM pragma_quick_check WHERE quick_check <> 'ok'";
    let file = open(path);
    let mut statement = file.prepare(halves).unwrap();
    let halves = statement.query_map([], |row| row.get(0)).unwrap();
    let halves: Vec<String> = halves.collect::<Result<_, _>>().unwrap();
    assert!(halves.is_empty(), "{halves:#?}");
}
