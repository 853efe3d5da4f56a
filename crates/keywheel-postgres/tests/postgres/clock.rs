//! What becomes of leases when the server's clock was set back.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::conformance::sample;
use keywheel_connection::{Claimed, ConnectionId, ConnectionStore};
use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{PostgresServer, TestDatabase};
use tokio::time::timeout;

use crate::rows;

const MINUTE: Duration = Duration::from_mins(1);

/// A store that leased its first connection tomorrow, as the clock shows now; the second one is due.
async fn with_a_lease_of_tomorrow() -> (TestDatabase, PostgresStore, [ConnectionId; 2]) {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    rows::let_clock_step(&database);
    let now = SystemClock::new().now();
    rows::step_clock(&database, TimeDelta::days(1));
    let first = due(&store, 1, now).await;
    let marked = mark(&database, &store).await;
    assert_eq!(ids(&claim(&store).await), [first]);
    // The look that the first claim begins is not to be mistaken for a later one.
    let is_over = format!("SELECT leased_at IS NULL FROM keywheel.due WHERE id = '{marked}'");
    let looked = async {
        while database.psql(&is_over).trim() == "f" {
            tokio::task::yield_now().await;
        }
    };
    timeout(MINUTE, looked).await.expect("nobody looks");
    rows::step_clock(&database, TimeDelta::days(-1));
    let second = due(&store, 2, now - TimeDelta::minutes(1)).await;
    (database, store, [first, second])
}

/// Stores a connection that never wakes, with a lease that ends when somebody looks.
async fn mark(database: &TestDatabase, store: &PostgresStore) -> ConnectionId {
    let (connection, entries) = sample::connection(9, "c9");
    store.create(&connection, None, &entries).await.unwrap();
    let id = connection.id;
    database.psql(&format!(
        "UPDATE keywheel.due SET holder = id, lease_until = 9e15, leased_at = 9e15 WHERE id = '{id}'"
    ));
    id
}

async fn due(store: &PostgresStore, n: u64, at: DateTime<Utc>) -> ConnectionId {
    let (connection, entries) = sample::connection(n, &format!("c{n}"));
    store.create(&connection, Some(at), &entries).await.unwrap();
    connection.id
}

async fn claim(store: &PostgresStore) -> Vec<Claimed> {
    let claimed = store.claim_due(sample::holder(1), 8, MINUTE).await;
    claimed.unwrap()
}

fn ids(claimed: &[Claimed]) -> Vec<ConnectionId> {
    let mut ids: Vec<_> = claimed.iter().map(|it| it.lease.connection).collect();
    ids.sort_unstable();
    ids
}

/// Claims as a worker does: on each hint.
async fn claim_until(store: &PostgresStore, wanted: ConnectionId) {
    let claimed = async {
        while !ids(&claim(store).await).contains(&wanted) {
            store.due_hint().await;
        }
    };
    timeout(MINUTE, claimed).await.expect("it stays leased");
}

/// Nobody who saw what the clock showed is left.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_of_the_future_ends_in_a_new_process_too() {
    let (database, store, [first, _]) = with_a_lease_of_tomorrow().await;
    drop(store);
    let store = rows::open(&database).await;

    claim_until(&store, first).await;
}

/// Whether the store saw the clock being set back or has just been opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_claim_waits_for_a_lease_of_the_future_to_end() {
    let (database, store, [first, second]) = with_a_lease_of_tomorrow().await;
    let new = rows::open(&database).await;
    let third = due(&store, 3, SystemClock::new().now()).await;
    let other = rows::session(&database).await;
    let lock = format!("BEGIN; SELECT FROM keywheel.due WHERE id = '{first}' FOR UPDATE");
    other.batch_execute(&lock).await.unwrap();

    let one = new.claim_due(sample::holder(2), 1, MINUTE).await.unwrap();
    assert_eq!(ids(&one), [second]);
    assert_eq!(ids(&claim(&store).await), [third]);
    // Those who look for it.
    rows::wait_for_blocked(&database, 2).await;

    other.batch_execute("COMMIT").await.unwrap();
    claim_until(&store, first).await;
}

/// It is made again until it succeeds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_claimed_is_not_lost_where_leases_of_the_future_cant_be_ended() {
    let (database, store, [first, second]) = with_a_lease_of_tomorrow().await;
    database.psql(
        "CREATE SEQUENCE tries;
         CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
         BEGIN
             IF nextval('public.tries') <= 3 THEN
                 RAISE EXCEPTION 'stopped' USING ERRCODE = '57014';
             END IF;
             RETURN NEW;
         END $$;
         CREATE TRIGGER fail BEFORE UPDATE ON keywheel.due FOR EACH ROW
             WHEN (NEW.holder IS NULL AND OLD.holder IS NOT NULL) EXECUTE FUNCTION fail()",
    );

    assert_eq!(ids(&claim(&store).await), [second]);

    claim_until(&store, first).await;
    let tries = database.psql("SELECT last_value FROM tries");
    assert_eq!(tries.trim(), "4");
}

/// Which a role for a service often has, and the whole table is looked at.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_look_may_take_longer_than_statements_of_its_role() {
    let (database, store, [first, _]) = with_a_lease_of_tomorrow().await;
    let other = rows::session(&database).await;
    let lock = format!("BEGIN; SELECT FROM keywheel.due WHERE id = '{first}' FOR UPDATE");
    other.batch_execute(&lock).await.unwrap();
    let name = database.name();
    database.psql(&format!(
        "ALTER DATABASE {name} SET statement_timeout = '1s'"
    ));

    claim(&store).await;

    rows::wait_for_blocked_for(&database, Duration::from_secs(2)).await;
    other.batch_execute("COMMIT").await.unwrap();
    claim_until(&store, first).await;
}
