//! What comes between a statement and the row that it is about.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::TimeDelta;
use futures_util::future::join_all;
use keywheel_connection::conformance::sample;
use keywheel_connection::{
    Connection, ConnectionStore, Consumer, Cursor, Save, StoreErrorKind, Version,
};
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{PostgresServer, TestDatabase, cases};

use crate::rows;

const MINUTE: Duration = Duration::from_mins(1);

/// Its holder extended it while the row was waited for: later than the clock showed before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_was_extended_while_it_was_waited_for_is_not_taken() {
    let (database, store, connection) = with_connection().await;
    rows::let_clock_step(&database);
    let held = store.lease(connection.id, sample::holder(1), MINUTE).await;
    held.unwrap();
    rows::step_clock(&database, TimeDelta::minutes(2));
    let other = rows::session(&database).await;
    other
        .batch_execute("BEGIN; UPDATE keywheel.due SET version = version")
        .await
        .unwrap();

    let id = connection.id;
    let waiting = tokio::spawn(async move { store.lease(id, sample::holder(2), MINUTE).await });
    rows::wait_for_blocked(&database, 1).await;
    rows::step_clock(&database, TimeDelta::seconds(10));
    other
        .batch_execute(
            "UPDATE keywheel.due SET leased_at = keywheel.now_micros(),
                 lease_until = keywheel.now_micros() + 60000000;
             COMMIT",
        )
        .await
        .unwrap();

    let error = waiting.await.unwrap().unwrap_err();
    let is_held = matches!(error.kind(), StoreErrorKind::Held { .. });
    assert!(is_held, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_waited_for_the_lead_does_not_take_it_from_who_got_it() {
    let (database, store, _) = with_connection().await;
    rows::let_clock_step(&database);
    let consumer: Consumer = "audit".parse().unwrap();
    assert!(
        store
            .lead(&consumer, sample::holder(1), MINUTE)
            .await
            .unwrap()
    );
    rows::step_clock(&database, TimeDelta::minutes(2));
    let other = rows::session(&database).await;
    other
        .batch_execute("BEGIN; UPDATE keywheel.consumer SET position = position")
        .await
        .unwrap();

    let waiting =
        tokio::spawn(async move { store.lead(&consumer, sample::holder(2), MINUTE).await });
    rows::wait_for_blocked(&database, 1).await;
    rows::step_clock(&database, TimeDelta::milliseconds(10));
    other
        .batch_execute(
            "UPDATE keywheel.consumer SET leader = gen_random_uuid(), led_at = keywheel.now_micros(),
                 led_until = keywheel.now_micros() + 60000000;
             COMMIT",
        )
        .await
        .unwrap();

    assert!(!waiting.await.unwrap().unwrap(), "there are two leaders");
}

/// Its journal stays, and is not to be begun anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_deleted_while_it_is_created_is_a_conflict() {
    let (database, store, connection) = with_connection().await;
    let other = rows::session(&database).await;
    other
        .batch_execute(
            "BEGIN;
             INSERT INTO keywheel.tombstone (id, namespace, name, version, seq, digest)
                 SELECT id, namespace, name, version, 1, '' FROM keywheel.connection;
             DELETE FROM keywheel.due;
             DELETE FROM keywheel.connection",
        )
        .await
        .unwrap();

    let waiting = tokio::spawn(async move {
        let (again, entries) = sample::connection(1, "c1");
        assert_eq!(again.id, connection.id);
        store.create(&again, None, &entries).await
    });
    rows::wait_for_blocked(&database, 1).await;
    other.batch_execute("COMMIT").await.unwrap();

    let error = waiting.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Conflict, "{error:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_collided_is_run_again_and_done_once() {
    for state in ["40001", "40P01"] {
        let (database, store, mut connection) = with_connection().await;
        database.psql(&format!(
            "CREATE SEQUENCE collisions;
             CREATE FUNCTION collide() RETURNS trigger LANGUAGE plpgsql AS $$
             BEGIN
                 IF nextval('public.collisions') <= 3 THEN
                     RAISE EXCEPTION 'collided' USING ERRCODE = '{state}';
                 END IF;
                 RETURN NEW;
             END $$;
             CREATE TRIGGER collide BEFORE UPDATE ON keywheel.due
                 FOR EACH ROW EXECUTE FUNCTION collide()"
        ));

        let entries = [sample::change(&mut connection, "made")];
        let saved = store
            .save(Save::new(&connection, Version(1), &entries))
            .await;

        assert_eq!(saved.unwrap(), Version(2), "{state}");
        let tries = database.psql("SELECT last_value FROM collisions");
        assert_eq!(tries.trim(), "4");
        let journal = store.journal(connection.id, 0, 8).await.unwrap();
        assert_eq!(journal.len(), 2);
    }
}

/// Positions are given when others' entries are not committed yet; a reader that goes on from the last one that
/// it saw would miss them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_misses_no_entry_of_stores_that_save_at_once() {
    let database = PostgresServer::shared_database();
    let saves = u64::from(cases(60, 600));
    let mut writers = Vec::new();
    for n in 0..4 {
        let store = rows::open(&database).await;
        writers.extend((0..8).map(|m| tokio::spawn(save_often(store.clone(), 8 * n + m, saves))));
    }
    let reader = rows::open(&database).await;
    // So that not all commits take as long, and others overtake where they can.
    database.psql(
        "CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS
             'BEGIN PERFORM pg_sleep(0.002); RETURN NULL; END';
         CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON keywheel.journal
             DEFERRABLE INITIALLY DEFERRED
             FOR EACH ROW WHEN (NEW.position % 3 = 0) EXECUTE FUNCTION dawdle()",
    );

    let writing = tokio::spawn(join_all(writers));
    let mut read = BTreeSet::new();
    let mut cursor = Cursor::START;
    loop {
        let is_over = writing.is_finished();
        let entries = reader.entries(cursor, 100).await.unwrap();
        if is_over && entries.is_empty() {
            break;
        }
        for (position, entry) in entries {
            cursor = position;
            read.insert((entry.connection, entry.seq));
        }
    }
    for written in writing.await.unwrap() {
        written.unwrap();
    }

    assert_eq!(read.len() as u64, 4 * 8 * (1 + saves));
}

async fn save_often(store: PostgresStore, n: u64, saves: u64) {
    let (mut connection, entries) = sample::connection(n, &format!("c{n}"));
    let mut version = store.create(&connection, None, &entries).await.unwrap();
    for _ in 0..saves {
        let entries = [sample::change(&mut connection, "made")];
        let save = Save::new(&connection, version, &entries);
        version = store.save(save).await.unwrap();
    }
}

async fn with_connection() -> (TestDatabase, PostgresStore, Connection) {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    let (connection, entries) = sample::connection(1, "c1");
    store.create(&connection, None, &entries).await.unwrap();
    (database, store, connection)
}
