//! What is in the tables, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel_connection::conformance::sample;
use keywheel_connection::{Connection, ConnectionStore, LeaseChange, Page, Save, StoreErrorKind};
use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{
    MEDDLING, PostgresOptions, PostgresServer, Secrets, TestDatabase, cases, check_damaged_records,
    check_meddling, fixture,
};

use crate::rows;

/// Neither the files of the server, its log and its write-ahead log among them, nor a dump.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_file_and_no_dump_shows_a_secret() {
    let server = PostgresOptions::default()
        .set("log_statement", "all")
        .start();
    let database = TestDatabase::on(&Arc::new(server));
    let store = Arc::new(rows::open(&database).await);
    let secrets = Secrets::put_into(store.clone()).await;
    database.psql("CHECKPOINT");

    let dump = database.server().dump(database.name());
    let searched = secrets.assert_absent_below(database.server().directory());

    secrets.assert_absent_in(dump.as_bytes(), "the dump");
    assert!(dump.contains("client-secret"), "nothing was dumped");
    println!(
        "{searched} bytes of files and {} of the dump searched",
        dump.len()
    );
}

/// However many replicas start at once, one migrates.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replicas_that_start_together_wait_for_one_to_migrate() {
    let database = PostgresServer::shared_database();

    let replicas = (0..12).map(|_| {
        let store = PostgresStore::builder(database.url()).without_listening();
        tokio::spawn(store.open())
    });
    let replicas = futures_util::future::join_all(replicas).await;

    for (n, store) in (0..).zip(replicas) {
        let store = store.unwrap().unwrap();
        let (connection, entries) = sample::connection(n, &format!("c{n}"));
        store.create(&connection, None, &entries).await.unwrap();
    }
    let made = database
        .psql("SELECT version, count(*) FROM keywheel.migration GROUP BY version ORDER BY version");
    assert_eq!(made.trim(), "1|1\n2|1");
}

/// Read, written and claimed as one of today.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_every_earlier_version_is_brought_up_to_date() {
    for (version, dump) in [
        (1, include_str!("fixtures/v1.sql")),
        (2, include_str!("fixtures/v2.sql")),
    ] {
        let database = PostgresServer::shared_database();
        database.psql(dump);
        assert_eq!(
            database
                .psql("SELECT max(version) FROM keywheel.migration")
                .trim(),
            version.to_string()
        );

        let store = rows::open(&database).await;

        fixture::check(&store).await;
    }
}

/// Writes the fixture of this version, when a new one begins: run it alone, and commit what it prints.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "prints the fixture"]
async fn prints_the_fixture() {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    fixture::fill(&store).await;
    println!("{}", database.server().dump(database.name()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schema_that_is_not_ours_is_refused_and_left_as_it_is() {
    let database = PostgresServer::shared_database();
    database.psql("CREATE SCHEMA keywheel; CREATE TABLE keywheel.theirs ()");
    let before = database.server().dump(database.name());
    let error = PostgresStore::builder(database.url())
        .open()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error:?}");
    assert_eq!(database.server().dump(database.name()), before);

    let database = PostgresServer::shared_database();
    drop(rows::open(&database).await);
    database.psql("INSERT INTO keywheel.migration (version) VALUES (3)");
    let error = PostgresStore::builder(database.url())
        .open()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error:?}");
    assert!(error.to_string().contains("schema 3"), "{error}");
    let elsewhere = PostgresStore::builder(database.url()).schema("elsewhere");
    assert_eq!(
        elsewhere
            .open()
            .await
            .unwrap()
            .list(Page::of_all(1))
            .await
            .unwrap(),
        []
    );
}

/// It is passed over, not in the way, and named where it alone is asked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_that_cant_be_read_spoils_no_other() {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;

    check_damaged_records(&store, |sql| rows::run(&database, sql)).await;
}

/// Whatever was done to it behind our back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_was_meddled_with_does_not_verify() {
    for meddling in MEDDLING {
        let database = PostgresServer::shared_database();
        let store = rows::open(&database).await;

        check_meddling(&store, meddling, |sql| rows::run(&database, sql)).await;
    }
}

/// One indexed read, however many connections there are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_is_one_indexed_read() {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    let tomorrow = SystemClock::new().now() + TimeDelta::days(1);
    rows::fill(
        &store,
        &database,
        cases(20_000, 100_000) as usize,
        Some(tomorrow),
    )
    .await;
    let due = store
        .claim_due(sample::holder(1), 64, Duration::from_secs(60))
        .await;
    assert_eq!(due.unwrap(), []);

    let statement = include_str!("../../src/sql/take_due.sql")
        .replace("$1", "gen_random_uuid()")
        .replace("$2", "64")
        .replace("$3", "60000000");
    let explain = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF)";
    let plan = database.psql(&format!("{explain} {statement}"));

    let scans = plan.lines().filter(|line| line.contains(" Scan"));
    let run: Vec<_> = scans
        .filter(|line| !line.contains("never executed"))
        .collect();
    let of_tables = run.iter().filter(|line| !line.contains("CTE Scan"));
    assert_eq!(of_tables.count(), 1, "{plan}");
    assert!(
        run.iter()
            .any(|line| line.contains("Index Scan using due_claimable")),
        "{plan}"
    );
    let reads = plan
        .lines()
        .find_map(|line| line.split("shared hit=").nth(1))
        .unwrap();
    let pages: u32 = reads.split(' ').next().unwrap().parse().unwrap();
    assert!(pages <= 8, "{pages} pages: {plan}");
}

/// Saves under a lease move no index entry, so that vacuum has nothing to do after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saves_under_a_lease_are_heap_only() {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    let now = SystemClock::new().now();
    for n in 0..20 {
        let (connection, entries) = sample::connection(n, &format!("c{n}"));
        store
            .create(&connection, Some(now), &entries)
            .await
            .unwrap();
    }
    let before = updates(&database);
    let due = store
        .claim_due(sample::holder(1), 20, Duration::from_secs(60))
        .await
        .unwrap();
    for claimed in due {
        let mut connection: Connection = claimed.stored.connection;
        let mut version = claimed.stored.version;
        for _ in 0..4 {
            let entries = [sample::change(&mut connection, "step")];
            let keep = LeaseChange::Extend(Duration::from_secs(60));
            let save = Save::new(&connection, version, &entries).under(&claimed.lease, keep);
            version = store.save(save).await.unwrap();
        }
    }
    drop(store);

    let after = loop {
        // Counts are reported when a session ends.
        let after = updates(&database);
        if after.0 >= before.0 + 80 + 80 + 20 {
            break after;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    let (all, hot) = (after.0 - before.0, after.1 - before.1);
    println!("{hot} of {all} updates were heap-only");
    // The twenty claims move an index entry each; a first save may, too.
    assert!(hot >= 140, "{hot} of {all}");
}

fn updates(database: &TestDatabase) -> (u64, u64) {
    let counts = database.psql(
        "SELECT coalesce(sum(n_tup_upd), 0) || ' ' || coalesce(sum(n_tup_hot_upd), 0)
         FROM pg_stat_user_tables WHERE schemaname = 'keywheel'",
    );
    let (all, hot) = counts.trim().split_once(' ').unwrap();
    (all.parse().unwrap(), hot.parse().unwrap())
}
