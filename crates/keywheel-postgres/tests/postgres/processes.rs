//! The tests that kill the server, stop processes, or start many.

use std::sync::Arc;

use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{
    Acks, Child, PostgresOptions, PostgresServer, TestDatabase, cases,
    check_a_stopped_holder_is_fenced_off, check_claimers_in_four_processes, claim_with_others,
    figure, load, write_with_an_old_lease,
};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::{Duration, sleep, timeout};

use crate::rows;

/// Also where the server's default is to acknowledge what it has not written yet. Every time the same store
/// goes on by itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_and_leaves_no_half() {
    let options = PostgresOptions::default().durable();
    let late = options
        .set("synchronous_commit", "off")
        .set("wal_writer_delay", "10s");
    let server = Arc::new(late.start());
    let database = TestDatabase::on(&server);
    let store = rows::open(&database).await;
    let crashes = cases(3, 50);
    let (acks, load) = under_load(&store);

    for n in 0..crashes {
        wait_for_writes(&acks, 200).await;
        let server = server.clone();
        let crash = move || {
            server.crash();
            server.start_again();
        };
        spawn_blocking(crash).await.unwrap();
        wait_for_writes(&acks, 50).await;
        acks.check(&store).await;
        rows::assert_no_halves(&database);
        assert!(!load.is_finished(), "after {n} crashes");
    }

    load.abort();
    acks.verify_journals(&store).await;
    figure(
        "PostgreSQL, killed writers",
        &format!(
            "{crashes} times `pg_ctl stop -m immediate` under load, {} acknowledged writes, none lost",
            acks.writes()
        ),
    );
}

/// As networks and administrators do it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropped_connections_lose_nothing() {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    let (acks, load) = under_load(&store);

    for _ in 0..cases(10, 100) {
        wait_for_writes(&acks, 50).await;
        database.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE application_name = 'keywheel' AND datname = current_database()",
        );
    }
    wait_for_writes(&acks, 50).await;

    acks.check(&store).await;
    rows::assert_no_halves(&database);
    assert!(!load.is_finished());
    load.abort();
    acks.verify_journals(&store).await;
}

fn under_load(store: &PostgresStore) -> (Acks, JoinHandle<()>) {
    let acks = Acks::default();
    let report = {
        let acks = acks.clone();
        move |ack| acks.add(ack)
    };
    let load = tokio::spawn(load(Arc::new(store.clone()), report));
    (acks, load)
}

async fn wait_for_writes(acks: &Acks, more: u64) {
    let wanted = acks.writes() + more;
    let wait = async {
        while acks.writes() < wanted {
            sleep(Duration::from_millis(2)).await;
        }
    };
    let waited = timeout(Duration::from_secs(120), wait).await;
    waited.expect("the store does not go on by itself");
}

/// Sixteen claimers in four processes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claimers_in_four_processes_never_share_a_fence() {
    let database = PostgresServer::shared_database();
    let count = cases(2_000, 100_000) as usize;
    let store = rows::open(&database).await;
    rows::fill(&store, &database, count, Some(SystemClock::new().now())).await;

    check_claimers_in_four_processes("processes::claims_all", &database.url(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn claims_all() {
    let store = PostgresStore::builder(Child::argument())
        .open()
        .await
        .unwrap();
    claim_with_others(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stopped_past_its_lease_writes_nothing_more() {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;

    let holder = "processes::holds_a_lease_too_long";
    check_a_stopped_holder_is_fenced_off(&store, holder, &database.url()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn holds_a_lease_too_long() {
    let store = PostgresStore::builder(Child::argument())
        .open()
        .await
        .unwrap();
    write_with_an_old_lease(&store).await;
}
