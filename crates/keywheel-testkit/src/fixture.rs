//! What is put into stores to be kept, copied or meddled with.

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::conformance::sample;
use keywheel_connection::{
    Connection, ConnectionId, ConnectionStore, ConnectionStoreExt, Consumer, Cursor, Page, Phase,
    Save,
};

/// Fills a store with something of everything, to be kept as a fixture.
///
/// # Panics
///
/// Panics when the store refuses.
pub async fn fill(store: &dyn ConnectionStore) {
    let (rotating, entries) = sample::rotating(1, "rotating");
    store
        .create(&rotating, Some(due()), &entries)
        .await
        .expect("it is new");
    let (plain, entries) = elsewhere();
    store
        .create(&plain, None, &entries)
        .await
        .expect("it is new");
    let (mut gone, entries) = sample::connection(3, "gone");
    let version = store
        .create(&gone, None, &entries)
        .await
        .expect("it is new");
    let entries = [sample::change(&mut gone, "deleted")];
    let save = Save::new(&gone, version, &entries).deleting();
    store.save(save).await.expect("it was not changed");
    store
        .acknowledge(&consumer(), Cursor(2))
        .await
        .expect("the store answers");
}

/// Checks that a store holds what [`fill`] once put there, and that all of it can be worked on.
///
/// # Panics
///
/// Panics when something is missing.
pub async fn check(store: &dyn ConnectionStore) {
    let page = store
        .list(Page::of_all(10))
        .await
        .expect("the store answers");
    let names: Vec<_> = page
        .iter()
        .map(|stored| stored.connection.name.as_str())
        .collect();
    assert_eq!(names, ["rotating", "plain"]);
    check_rotating(&page[0].connection);
    assert_eq!(page[1].connection.namespace, elsewhere().0.namespace);
    let (gone, _) = sample::connection(3, "gone");
    let tombstone = store.tombstone(gone.id).await.expect("the store answers");
    assert_eq!(tombstone.expect("it was deleted").name, gone.name);
    for (id, entries) in [
        (page[0].connection.id, 2),
        (page[1].connection.id, 1),
        (gone.id, 2),
    ] {
        assert_eq!(
            store.verify(id).await.expect("a whole journal").seq,
            entries
        );
    }
    let rest = store
        .unacknowledged(&consumer(), 10)
        .await
        .expect("the store answers");
    assert_eq!(rest.len(), 3);
    work_on(store, &page[0].connection).await;
}

fn check_rotating(connection: &Connection) {
    let (sample, _) = sample::rotating(1, "rotating");
    assert_eq!(connection.id, sample.id);
    assert_eq!(connection.secrets(), sample.secrets());
    let (rotation, sample) = (connection.rotation.as_ref(), sample.rotation.as_ref());
    let (rotation, sample) = (rotation.expect("it rotates"), sample.expect("it rotates"));
    let candidate = |phase: &Phase| match phase {
        Phase::Proving(candidate) => (candidate.key_id, candidate.sealed.clone()),
        other => panic!("{other:?}"),
    };
    assert_eq!(candidate(&rotation.phase), candidate(&sample.phase));
    assert_eq!(rotation.debts[0].key_id, sample.debts[0].key_id);
    assert_eq!(
        rotation.dead_markers[0].marker,
        sample.dead_markers[0].marker
    );
}

async fn work_on(store: &dyn ConnectionStore, expected: &Connection) {
    let span = Duration::from_secs(60);
    let claims = store.claim_due(sample::holder(1), 10, span).await;
    let claimed = claims.expect("the store answers").remove(0);
    let mut connection = Arc::unwrap_or_clone(claimed.stored.connection);
    assert_eq!(&connection, expected);
    let entries = [sample::change(&mut connection, "today")];
    let save = Save::new(&connection, claimed.stored.version, &entries);
    let save = save.under(&claimed.lease, keywheel_connection::LeaseChange::Release);
    store.save(save).await.expect("the lease is ours");
    assert_eq!(
        store
            .verify(connection.id)
            .await
            .expect("a whole journal")
            .seq,
        3
    );
}

fn elsewhere() -> (Connection, Vec<keywheel_connection::Entry>) {
    let (mut connection, entries) = sample::connection(2, "plain");
    connection.namespace = "other".parse().expect("a name");
    (connection, entries)
}

fn consumer() -> Consumer {
    "audit".parse().expect("a name")
}

fn due() -> DateTime<Utc> {
    DateTime::UNIX_EPOCH + TimeDelta::days(19_000)
}

/// Returns the statements that copy the one connection of a PostgreSQL store, until there are so many: made one
/// after the other, as their ids tell.
#[must_use]
pub fn copies_in_postgres(first: ConnectionId, count: usize) -> String {
    copies(POSTGRES, first, count)
}

/// Returns the statements that copy the one connection of an SQLite store, until there are so many: made one
/// after the other, as their ids tell.
#[must_use]
pub fn copies_in_sqlite(first: ConnectionId, count: usize) -> String {
    copies(SQLITE, first, count)
}

fn copies(sql: &str, first: ConnectionId, count: usize) -> String {
    sql.replace("$count", &count.to_string())
        .replace("$now", &due().timestamp_millis().to_string())
        .replace("$first", &first.to_string())
}

const POSTGRES: &str = "
        CREATE TEMP TABLE copy AS
            SELECT n, (left(time, 8) || '-' || right(time, 4) || '-7' || right(gen_random_uuid()::text, 21))::uuid AS id
            FROM generate_series(2, $count) AS n, lpad(to_hex($now + n), 12, '0') AS time;
        INSERT INTO keywheel.connection (id, namespace, name, version, record)
            SELECT copy.id, namespace, 'c' || n, version, replace(replace(
                record, '$first', copy.id::text), '\"c1\"', '\"c' || n || '\"')
            FROM copy, (SELECT * FROM keywheel.connection) AS first;
        INSERT INTO keywheel.journal (connection, seq, body, digest)
            SELECT copy.id, seq, body, digest FROM copy, (SELECT * FROM keywheel.journal) AS first;
        INSERT INTO keywheel.due (id, version, fence, wake_at, claimable_at)
            SELECT copy.id, version, fence, wake_at, claimable_at
            FROM copy, (SELECT * FROM keywheel.due) AS first;
        ANALYZE;";

const SQLITE: &str = "
        BEGIN;
        CREATE TEMP TABLE copy AS
            WITH RECURSIVE number (n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM number LIMIT $count - 1)
            SELECT n, unhex(printf('%012x', $now + n) || '7' || substr(hex(randomblob(10)), 1, 3)
                || '8' || substr(hex(randomblob(10)), 1, 15)) AS id FROM number;
        INSERT INTO connection (row, id, namespace, name, version, record)
            SELECT n, copy.id, namespace, 'c' || n, version, replace(replace(
                record,
                '$first',
                lower(substr(hex(copy.id), 1, 8) || '-' || substr(hex(copy.id), 9, 4) || '-'
                    || substr(hex(copy.id), 13, 4) || '-' || substr(hex(copy.id), 17, 4) || '-'
                    || substr(hex(copy.id), 21))
            ), '\"c1\"', '\"c' || n || '\"')
            FROM copy, (SELECT * FROM connection WHERE row = 1);
        INSERT INTO journal (connection, seq, body, digest)
            SELECT copy.id, seq, body, digest FROM copy, (SELECT * FROM journal);
        INSERT INTO due SELECT n, fence, wake_at, claimable_at, holder, leased_at, lease_until
            FROM copy, (SELECT * FROM due WHERE row = 1);
        DROP TABLE copy;
        COMMIT;";
