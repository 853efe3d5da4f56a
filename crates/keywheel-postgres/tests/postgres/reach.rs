//! Which server is reached, and how long it is waited for.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connection::conformance::sample;
use keywheel_connection::{ConnectionId, ConnectionStore, StoreError, StoreErrorKind};
use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{PostgresOptions, PostgresServer, TestDatabase};
use tokio::time::timeout;

use crate::rows;

const MINUTE: Duration = Duration::from_mins(1);

/// How long those wait that are not to be answered. All else that they ask for is answered within it, however busy
/// the machine is.
const IMPATIENT: Duration = Duration::from_secs(4);

/// The system accepts for a process that does not, as one that was stopped.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_keeps_silent_is_passed_over_in_time() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let database = PostgresServer::shared_database();
    let url = database.url();
    let silent = format!("postgres@{},", silent.local_addr().unwrap());
    let store = PostgresStore::builder(url.replacen("postgres@", &silent, 1));

    let store = store.answer_timeout(IMPATIENT * 2).open().await;

    let (connection, entries) = sample::connection(1, "c1");
    store
        .unwrap()
        .create(&connection, None, &entries)
        .await
        .unwrap();
}

/// A store of two servers, the first of which it uses. The other one has its tables too.
async fn of_two_servers() -> ([PostgresServer; 2], PostgresStore) {
    let servers = [(); 2].map(|()| PostgresOptions::default().start());
    let [former, next] = &servers;
    let socket = |server: &PostgresServer| {
        let url = server.url("postgres");
        url.split(['@', ':']).nth(2).unwrap().to_owned()
    };
    let url = format!(
        "postgres://postgres@{},{}/postgres",
        socket(former),
        socket(next)
    );
    let there = PostgresStore::builder(next.url("postgres")).open().await;
    drop(there.unwrap());
    let store = PostgresStore::builder(url).without_listening().open().await;
    (servers, store.unwrap())
}

async fn create(store: &PostgresStore, n: u64) -> Result<ConnectionId, StoreError> {
    let (connection, entries) = sample::connection(n, &format!("c{n}"));
    store.create(&connection, None, &entries).await?;
    Ok(connection.id)
}

/// No connection to the one that was the primary is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_go_on_at_the_host_that_accepts_them() {
    let ([former, next], store) = of_two_servers().await;
    // More than one connection.
    let created = futures_util::future::join_all((0..6).map(|n| create(&store, n))).await;
    assert!(created.iter().all(Result::is_ok), "{created:?}");

    rows::set_read_only(&former, "on").await;

    create(&store, 6).await.unwrap();
    let stored = "SELECT string_agg(name, ' ') FROM keywheel.connection";
    assert_eq!(next.psql("postgres", stored).trim(), "c6");
}

/// Nor one that was in use meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_read_from_a_host_that_was_left() {
    let ([former, _next], store) = of_two_servers().await;
    let (first, more) = tokio::join!(create(&store, 1), create(&store, 2));
    let (first, _) = (first.unwrap(), more.unwrap());
    let other = rows::session_at(&former.url("postgres")).await;
    other
        .batch_execute("BEGIN; UPDATE keywheel.due SET version = version")
        .await
        .unwrap();
    let leased = {
        let store = store.clone();
        tokio::spawn(async move { store.lease(first, sample::holder(1), MINUTE).await })
    };
    rows::wait_for_lock(&other).await;
    rows::set_read_only(&former, "on").await;

    let last = create(&store, 3).await.unwrap();
    other.batch_execute("COMMIT").await.unwrap();
    leased.await.unwrap().unwrap();

    assert!(store.load(last).await.unwrap().is_some());
}

/// However long that is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_time_can_be_given_to_an_answer() {
    let database = PostgresServer::shared_database();
    let store = PostgresStore::builder(database.url()).answer_timeout(Duration::MAX);

    let store = store.open().await.unwrap();

    create(&store, 1).await.unwrap();
}

/// A process that was stopped answers nothing, and its connection stays open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_keeps_silent_is_given_up_on_and_used_again() {
    let database = PostgresServer::shared_database();
    let store = PostgresStore::builder(database.url())
        .without_listening()
        .answer_timeout(IMPATIENT)
        .open()
        .await
        .unwrap();
    let (connection, entries) = sample::connection(1, "c1");
    let pid = database.psql(
        "SELECT pid FROM pg_stat_activity
         WHERE application_name = 'keywheel' AND datname = current_database()",
    );
    let signal = |name: &str| {
        let mut kill = database.server().command("kill");
        assert!(kill.args([name, pid.trim()]).status().unwrap().success());
    };
    signal("-STOP");

    let error = store.load(connection.id).await.unwrap_err();

    assert_too_slow(&error);
    store.create(&connection, None, &entries).await.unwrap();
    signal("-CONT");
    assert!(store.load(connection.id).await.unwrap().is_some());
}

fn assert_too_slow(error: &StoreError) {
    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("no answer in time"), "{error}");
}

/// The tables are asked for their version first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn opening_at_a_silent_server_ends_in_time() {
    let database = PostgresServer::shared_database();
    drop(rows::open(&database).await);
    let other = rows::session(&database).await;
    other
        .batch_execute("BEGIN; LOCK TABLE keywheel.migration")
        .await
        .unwrap();

    let store = PostgresStore::builder(database.url()).answer_timeout(IMPATIENT);
    let opened = timeout(MINUTE, store.open()).await;

    assert_too_slow(&opened.expect("it is waited for").unwrap_err());
}

/// However long one answer may take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_migrates_is_waited_for() {
    let database = PostgresServer::shared_database();
    let other = rows::session(&database).await;
    other
        .batch_execute("BEGIN; SELECT pg_advisory_xact_lock(1802987628, hashtext('keywheel'))")
        .await
        .unwrap();
    let store = PostgresStore::builder(database.url()).answer_timeout(IMPATIENT);

    let mut opening = std::pin::pin!(store.open());
    let opened = timeout(IMPATIENT * 3 / 2, &mut opening).await;

    assert!(opened.is_err(), "{opened:?}");
    other.batch_execute("COMMIT").await.unwrap();
    opening.await.unwrap();
}

/// One more of a store's connections is needed, and another one's are all that the server has.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_can_open_no_more_connections_goes_on_when_it_can() {
    let options = PostgresOptions::default().set("max_connections", 8);
    let options = options.set("superuser_reserved_connections", 0);
    let database = TestDatabase::on(&Arc::new(options.start()));
    let store = PostgresStore::builder(database.url()).without_listening();
    let store = store.open().await.unwrap();
    let (connection, entries) = sample::connection(1, "c1");
    let id = connection.id;
    store.create(&connection, None, &entries).await.unwrap();
    let mut others = Vec::new();
    for _ in 0..7 {
        others.push(rows::session(&database).await);
    }
    others[0]
        .batch_execute("BEGIN; UPDATE keywheel.due SET version = version")
        .await
        .unwrap();
    let leased = {
        let store = store.clone();
        tokio::spawn(async move { store.lease(id, sample::holder(1), MINUTE).await })
    };
    rows::wait_for_lock(&others[0]).await;

    let error = store.load(id).await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("max_connections"), "{error}");
    others.pop();
    // A server needs a moment to see that a client is gone.
    let loaded = async {
        while let Err(error) = store.load(id).await {
            assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        }
    };
    timeout(MINUTE, loaded)
        .await
        .expect("no connection is free");
    others[0].batch_execute("COMMIT").await.unwrap();
    leased.await.unwrap().unwrap();
}

/// The third in a line is not served in its time, as the second has all of it: it comes while half of the time
/// of the first is left, and so half of its own is left to the second when it gives up. One thread, so that they
/// stand in line in this order.
#[tokio::test]
async fn a_turn_that_does_not_come_is_waited_for_no_longer_than_an_answer() {
    let database = PostgresServer::shared_database();
    let id = create(&rows::open(&database).await, 1).await.unwrap();
    let store = PostgresStore::builder(database.url())
        .without_listening()
        .connections(1)
        .answer_timeout(IMPATIENT);
    let store = store.open().await.unwrap();
    let other = rows::session(&database).await;
    other
        .batch_execute("BEGIN; UPDATE keywheel.due SET version = version")
        .await
        .unwrap();

    let lease = |n| store.lease(id, sample::holder(n), MINUTE);
    let later = async {
        rows::wait_for_blocked_for(&database, IMPATIENT / 2).await;
        tokio::join!(lease(2), store.load(id))
    };
    let (first, (second, third)) = tokio::join!(lease(1), later);

    assert_too_slow(&first.unwrap_err());
    assert_too_slow(&second.unwrap_err());
    assert_too_slow(&third.unwrap_err());
    other.batch_execute("ROLLBACK").await.unwrap();
    assert!(store.load(id).await.unwrap().is_some());
}

/// It is also part of the name of a channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_can_have_any_plain_name() {
    let database = PostgresServer::shared_database();
    for name in ["user".to_owned(), "s".repeat(59)] {
        let store = PostgresStore::builder(database.url()).schema(&name);
        let store = store.open().await.unwrap();
        let (connection, entries) = sample::connection(1, "c1");
        let now = SystemClock::new().now();
        store
            .create(&connection, Some(now), &entries)
            .await
            .unwrap();
        let due = store.claim_due(sample::holder(1), 8, MINUTE).await;
        assert_eq!(due.unwrap().len(), 1, "{name}");
    }
    for name in ["s".repeat(60), "pg_keywheel".to_owned(), "Keys".to_owned()] {
        let store = PostgresStore::builder(database.url()).schema(&name);
        let error = store.open().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error:?}");
    }
}

/// Nothing is sent to where it would not be encrypted, or whose certificate can't be checked.
#[tokio::test]
async fn an_address_without_a_name_is_refused_where_it_is_not_of_this_machine() {
    let store = PostgresStore::builder("hostaddr=192.0.2.1 user=keywheel".to_owned());

    let error = store.open().await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error:?}");
    assert!(error.to_string().contains("hostaddr"), "{error}");
}
