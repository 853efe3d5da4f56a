//! What is in the tables, and what becomes of them.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel_connection::conformance::sample;
use keywheel_connection::{
    Claimed, ConnectionStore, LeaseChange, Page, Save, StoreErrorKind, Version,
};
use keywheel_core::{Clock, SystemClock};
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{
    MEDDLING, PostgresOptions, PostgresServer, Secrets, TestDatabase, cases, check_damaged_records,
    check_meddling, fixture,
};

use tokio::time::timeout;

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
    // A segment of the write-ahead log alone is longer.
    assert!(searched > 16_000_000, "only {searched} bytes were searched");
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
    assert_eq!(made.trim(), "1|1\n2|1\n3|1\n4|1\n5|1");
}

/// Read, written and claimed as one of today.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_of_every_earlier_version_is_brought_up_to_date() {
    for (version, dump) in [
        (1, include_str!("fixtures/v1.sql")),
        (2, include_str!("fixtures/v2.sql")),
        (3, include_str!("fixtures/v3.sql")),
        (4, include_str!("fixtures/v4.sql")),
        (5, include_str!("fixtures/v5.sql")),
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

/// So that they go on while others are upgraded beside them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn later_versions_change_nothing_that_replicas_of_earlier_ones_use() {
    for (dump, added) in [
        (
            include_str!("fixtures/v2.sql"),
            "'save', 'take_due', 'save_all'",
        ),
        (include_str!("fixtures/v3.sql"), "'save_all'"),
        (include_str!("fixtures/v4.sql"), "''"),
    ] {
        let database = PostgresServer::shared_database();
        database.psql(dump);
        let tables = "'dead_letter'";
        let parts = format!(
            "SELECT table_name, column_name, data_type, is_nullable, column_default
                FROM information_schema.columns WHERE table_schema = 'keywheel' AND table_name NOT IN ({tables}) ORDER BY 1, 2;
            SELECT indexdef FROM pg_indexes WHERE schemaname = 'keywheel'
                AND tablename NOT IN ({tables}) ORDER BY 1;
            SELECT pg_get_functiondef(oid) FROM pg_proc
                WHERE pronamespace = 'keywheel'::regnamespace AND proname NOT IN ({added}) ORDER BY 1"
        );
        let before: Vec<_> = parts.split(';').map(|part| database.psql(part)).collect();

        drop(rows::open(&database).await);

        let after: Vec<_> = parts.split(';').map(|part| database.psql(part)).collect();
        assert_eq!(after, before);
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
    database.psql("INSERT INTO keywheel.migration (version) VALUES (6)");
    let error = PostgresStore::builder(database.url())
        .open()
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error:?}");
    assert!(error.to_string().contains("schema 6"), "{error}");
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

    check_damaged_records(Arc::new(store), |sql| rows::run(&database, sql)).await;
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

/// One indexed read, however many connections there are, and for the first claim of a store too. Beside that each
/// process looks once at the narrow table, for leases of the future.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_is_one_indexed_read() {
    let database = with_many_idle().await;
    let store = rows::open(&database).await;

    for _ in 0..3 {
        assert_eq!(poll(&store).await, []);
    }

    wait_for_looks(&database, 1).await;
    drop(store);
    rows::wait_until_closed(&database).await;
    let scans =
        "SELECT string_agg(relname || ' ' || seq_scan || ' ' || idx_scan, ', ' ORDER BY relname)
                 FROM pg_stat_user_tables WHERE relname IN ('connection', 'due')";
    let counted = async {
        while database.psql(scans).trim() != "connection 0 0, due 1 3" {
            tokio::task::yield_now().await;
        }
    };
    let counted = timeout(Duration::from_secs(10), counted).await;
    assert!(counted.is_ok(), "{}", database.psql(scans));
}

/// Each time one process looks, beside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_claim_reads_the_whole_table_when_the_clock_was_set_back() {
    let database = with_many_idle().await;
    rows::let_clock_step(&database);
    let store = rows::open(&database).await;
    assert_eq!(poll(&store).await, []);
    wait_for_looks(&database, 1).await;

    rows::step_clock(&database, TimeDelta::hours(-1));
    assert_eq!(poll(&store).await, []);

    wait_for_looks(&database, 2).await;
    drop(store);
    rows::wait_until_closed(&database).await;
    assert_eq!(looks(&database), 2);
}

/// Of which the server knows nothing: neither how many there are nor who read them.
async fn with_many_idle() -> TestDatabase {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    let tomorrow = SystemClock::new().now() + TimeDelta::days(1);
    let count = cases(20_000, 100_000) as usize;
    rows::fill(&store, &database, count, Some(tomorrow)).await;
    drop(store);
    rows::wait_until_closed(&database).await;
    database.copy()
}

async fn poll(store: &PostgresStore) -> Vec<Claimed> {
    let due = store.claim_due(sample::holder(1), 64, Duration::from_secs(60));
    due.await.unwrap()
}

/// What a session did is counted at its end.
async fn wait_for_looks(database: &TestDatabase, count: u64) {
    let looked = async {
        while looks(database) < count {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(60), looked)
        .await
        .expect("nobody looks");
}

fn looks(database: &TestDatabase) -> u64 {
    let scans = "SELECT seq_scan FROM pg_stat_user_tables WHERE relname = 'due'";
    database.psql(scans).trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_reads_few_pages() {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    let tomorrow = SystemClock::new().now() + TimeDelta::days(1);
    let count = cases(20_000, 100_000) as usize;
    rows::fill(&store, &database, count, Some(tomorrow)).await;

    // The first claim of a session plans, which reads the catalogue.
    let claim = "SELECT FROM keywheel.take_due(gen_random_uuid(), 64, 60000000)";
    let explain = "EXPLAIN (ANALYZE, BUFFERS, COSTS OFF, TIMING OFF, SUMMARY OFF)";
    let plan = database.psql(&format!("{claim}; {explain} {claim}"));
    let reads = plan
        .lines()
        .find_map(|line| line.split("shared hit=").nth(1));
    let pages: u32 = reads.unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(pages <= 8, "{pages} pages: {plan}");
}

/// Plans are kept: one that was made for an empty table must be right for what it has become.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_from_when_tables_were_empty_never_reads_a_whole_one() {
    let database = PostgresServer::shared_database();
    drop(rows::open(&database).await);

    let claim = "SELECT FROM keywheel.take_due(gen_random_uuid(), 64, 60000000)";
    let output = database.psql(&format!(
        "{claim}; {SAVE_CHOSEN_ROWS};
         INSERT INTO keywheel.connection (id, namespace, name, version, record)
             SELECT gen_random_uuid(), 'n', n, 1, '{{}}' FROM generate_series(1, 5000) AS n;
         INSERT INTO keywheel.due (id, version, fence, wake_at, claimable_at)
             SELECT id, 1, 0, 1, 1 FROM keywheel.connection;
         INSERT INTO chosen SELECT id FROM keywheel.connection LIMIT 64;
         CREATE TEMP TABLE before AS SELECT relname, seq_scan, idx_tup_fetch
             FROM pg_stat_xact_user_tables WHERE schemaname = 'keywheel';
         {claim}; {SAVE_CHOSEN_ROWS};
         SELECT sum(now.seq_scan - before.seq_scan) || ' whole tables, '
             || sum(now.idx_tup_fetch - before.idx_tup_fetch) || ' rows by an index, '
             || (SELECT count(*) FROM keywheel.journal) || ' saved'
         FROM pg_stat_xact_user_tables AS now JOIN before USING (relname)"
    ));

    // 64 rows are found by when they are due. To claim as many and to save as many, each is found in two
    // tables by its id.
    let scans = output.trim().lines().last();
    assert_eq!(
        scans,
        Some("0 whole tables, 320 rows by an index, 64 saved")
    );
}

/// Through the procedure, as a store does it. At first no rows are chosen.
const SAVE_CHOSEN_ROWS: &str = "
    CREATE TEMP TABLE IF NOT EXISTS chosen (id uuid);
    DO $$
    DECLARE
        input record;
        saved bigint[];
        hints boolean;
    BEGIN
        SELECT array_agg(id) AS ids, array_agg(1::bigint) AS ones, array_agg(NULL::bigint) AS nulls,
            array_agg(NULL::uuid) AS holders, array_agg(true) AS keeps, array_agg(id::text) AS texts,
            array_agg(number) AS numbers, array_agg('\\x00'::bytea) AS digests
        INTO input FROM (SELECT id, row_number() OVER () AS number FROM chosen) AS numbered;
        CALL keywheel.save_all(
            input.ids, input.ones, input.nulls, input.holders, input.keeps, input.nulls, input.nulls,
            input.texts, input.texts, input.numbers, input.ones, input.texts, input.digests, saved, hints
        );
    END $$";

/// All are in one statement: they are queued before the one task of this thread that writes runs.
#[tokio::test]
async fn who_is_refused_in_a_batch_leaves_no_entry_and_the_others_lose_none() {
    let database = PostgresServer::shared_database();
    let store = rows::open(&database).await;
    let mut connections = Vec::new();
    for n in 0..8 {
        let (connection, entries) = sample::connection(n, &format!("c{n}"));
        let version = store.create(&connection, None, &entries).await.unwrap();
        connections.push((connection, version));
    }
    let is_stale = |n: usize| n % 3 == 1;

    let saves = connections.iter_mut().enumerate().map(|(n, saved)| {
        let store = &store;
        async move {
            let (connection, version) = saved;
            let entries = [
                sample::change(connection, "one"),
                sample::change(connection, "two"),
            ];
            let expected = Version(version.0 + u64::from(is_stale(n)));
            store.save(Save::new(connection, expected, &entries)).await
        }
    });
    let answers = futures_util::future::join_all(saves).await;

    rows::assert_no_halves(&database);
    for (n, ((connection, version), answer)) in connections.iter().zip(answers).enumerate() {
        let stored = store.load(connection.id).await.unwrap().unwrap();
        let entries = store.journal(connection.id, 1, 8).await.unwrap();
        if is_stale(n) {
            assert_eq!(answer.unwrap_err().kind(), StoreErrorKind::Conflict);
            assert_eq!((stored.version, entries.len()), (*version, 0), "{n}");
        } else {
            assert_eq!(answer.unwrap(), stored.version);
            assert_eq!(stored.version, Version(version.0 + 1));
            assert_eq!(*stored.connection, *connection);
            let seqs: Vec<_> = entries.iter().map(|entry| entry.seq).collect();
            assert_eq!(seqs, [2, 3], "{n}");
        }
    }
}

/// Saves under a lease move no index entry, so that vacuum has nothing to do after them.
///
/// On a server of its own: what a page holds of earlier versions stays as long as anybody's transaction that
/// is older runs, in whatever database, and the next version may then find no room in it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn saves_under_a_lease_are_heap_only() {
    let server = PostgresOptions::default().set("autovacuum", "off").start();
    let database = TestDatabase::on(&Arc::new(server));
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
        let mut connection = Arc::unwrap_or_clone(claimed.stored.connection);
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
