//! What servers and networks do to a store: poolers, encryption, limits.

use std::sync::Arc;
use std::time::Duration;

use keywheel_connection::conformance::sample;
use keywheel_connection::{ConnectionStore, Page, StoreErrorKind};
use keywheel_core::{Clock, Entropy, SystemClock, SystemEntropy};
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{
    Child, PgBouncer, PostgresOptions, PostgresServer, TestDatabase, check_full_disk,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::time::timeout;

use crate::rows;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_replica_lets_wake_another_one_hears_of() {
    let database = PostgresServer::shared_database();
    let (here, there) = (rows::open(&database).await, rows::open(&database).await);

    for n in 0..3 {
        heard(&here, &there, n).await;
        // The listener's connection among them.
        database.psql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
             WHERE query LIKE 'LISTEN%' AND datname = current_database()",
        );
    }
}

/// Waits for a hint of the other replica. Whoever begins to listen hears at once, so that first one may be
/// about nothing.
async fn heard(here: &PostgresStore, there: &PostgresStore, n: u64) {
    let (connection, entries) = sample::connection(n, &format!("c{n}"));
    let now = SystemClock::new().now();
    here.create(&connection, Some(now), &entries).await.unwrap();
    loop {
        timeout(Duration::from_secs(60), there.due_hint())
            .await
            .expect("no hint came");
        let due = there
            .claim_due(sample::holder(n), 1, Duration::from_secs(600))
            .await;
        if let [claimed] = due.unwrap().as_slice() {
            assert_eq!(*claimed.stored.connection, connection);
            return;
        }
    }
}

/// Past a pooler, which does not pass hints on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hints_come_past_a_pooler() {
    let server = PostgresServer::shared();
    let database = TestDatabase::on(&server);
    let bouncer = PgBouncer::before(&server);
    let open = || {
        let through = PostgresStore::builder(bouncer.url(database.name()));
        through.listen_at(database.url()).open()
    };
    let (here, there) = (open().await.unwrap(), open().await.unwrap());

    heard(&here, &there, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_believed_by_its_certificate_only() {
    let ours = authority();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = certificate.signed_by(&key, &ours).unwrap();
    let options = PostgresOptions::default().tls(&certificate.pem(), &key.serialize_pem());
    let server = options.start();
    let url = |host: &str, rest: &str| {
        let port = server.port();
        format!("postgres://postgres@{host}:{port}/postgres?{rest}")
    };
    let open = |url: String, root: &str| PostgresStore::builder(url).root_certificate(root).open();

    let store = open(url("localhost", "sslmode=verify-full"), &ours.pem())
        .await
        .unwrap();
    assert_eq!(store.list(Page::of_all(1)).await.unwrap(), []);
    let clear = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                 WHERE application_name = 'keywheel' AND NOT ssl";
    assert_eq!(server.psql("postgres", clear).trim(), "0");

    for (url, root) in [
        (url("localhost", "sslmode=require"), authority().pem()),
        (url("127.0.0.1", "sslmode=require"), ours.pem()),
    ] {
        let error = open(url, &root).await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error:?}");
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    // What could be talked out of encryption is not taken.
    let error = open(url("localhost", "sslmode=prefer"), &ours.pem())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error:?}");
    let error = open(url("localhost", "sslmode=disable"), &ours.pem())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("refuses the user"), "{error:?}");
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_sent_to_a_server_that_does_not_encrypt() {
    let server = PostgresOptions::default().tcp().start();
    let url = format!(
        "postgres://postgres@localhost:{}/postgres?sslmode=require",
        server.port()
    );

    let error = PostgresStore::builder(url).open().await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::NotOurs, "{error:?}");
    assert!(error.to_string().contains("does not encrypt"), "{error}");
}

/// Callers wait for their turn; the server's last connection is somebody else's, and then free again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_without_a_free_connection_is_waited_for() {
    let options = PostgresOptions::default().set("max_connections", 8);
    let options = options.set("superuser_reserved_connections", 0);
    let server = Arc::new(options.start());
    let database = TestDatabase::on(&server);
    let lean = PostgresStore::builder(database.url())
        .connections(1)
        .without_listening();
    let lean = lean.open().await.unwrap();
    let creations = (0..200).map(|n| {
        let lean = lean.clone();
        tokio::spawn(async move {
            let (connection, entries) = sample::connection(n, &format!("c{n}"));
            lean.create(&connection, None, &entries).await
        })
    });
    for created in futures_util::future::join_all(creations).await {
        created.unwrap().unwrap();
    }
    let others: Vec<_> =
        futures_util::future::join_all((0..7).map(|_| rows::session(&database))).await;
    let late = PostgresStore::builder(database.url()).without_listening();

    let error = late.open().await.unwrap_err();

    assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
    assert!(error.to_string().contains("max_connections"), "{error}");
    lean.load(sample::connection(1, "c1").0.id)
        .await
        .unwrap()
        .unwrap();
    drop(others);
    let late = || {
        PostgresStore::builder(database.url())
            .without_listening()
            .open()
    };
    let store = async {
        loop {
            // A server needs a moment to see that a client is gone.
            match late().await {
                Ok(store) => break store,
                Err(error) => assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}"),
            }
        }
    };
    let store = timeout(Duration::from_mins(1), store).await;
    let store = store.expect("no connection is free");
    assert_eq!(store.list(Page::of_all(500)).await.unwrap().len(), 200);
}

/// Reads go on, writes say why not, and both go on by themselves afterwards.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_only_server_says_so() {
    let server = Arc::new(PostgresOptions::default().start());
    let database = TestDatabase::on(&server);
    let store = rows::open(&database).await;
    let (connection, entries) = sample::connection(1, "c1");
    let version = store.create(&connection, None, &entries).await.unwrap();
    // No session ends.
    rows::set_read_only(&server, "on").await;

    let save = || {
        let mut changed = connection.clone();
        let entry = sample::change(&mut changed, "made");
        let store = store.clone();
        async move {
            let entries = [entry];
            store
                .save(keywheel_connection::Save::new(&changed, version, &entries))
                .await
        }
    };
    for _ in 0..3 {
        let error = save().await.unwrap_err();
        assert_eq!(error.kind(), StoreErrorKind::Unavailable, "{error:?}");
        assert!(error.to_string().contains("read-only"), "{error}");
        let loaded = store.load(connection.id).await.unwrap().unwrap();
        assert_eq!(loaded.version, version);
    }
    rows::set_read_only(&server, "off").await;
    save().await.unwrap();
}

/// The server's disk fills up under load. It says so, and goes on when there is room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_of_the_server_loses_nothing() {
    let child = Child::start_on_small_disk("service::fills_the_disk", 24);
    tokio::task::spawn_blocking(|| child.finish())
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn fills_the_disk() {
    Child::started();
    let disk = std::path::PathBuf::from(Child::argument());
    let server = PostgresOptions::default().start();
    server.psql(
        "postgres",
        &format!("CREATE TABLESPACE small LOCATION '{}'", disk.display()),
    );
    server.psql("postgres", "CREATE DATABASE small TABLESPACE small");
    let store = PostgresStore::builder(server.url("small"))
        .open()
        .await
        .unwrap();
    let ballast = disk.join("ballast");
    std::fs::write(&ballast, vec![1; 4_000_000]).unwrap();

    check_full_disk(&store, &ballast, || incompressible(200_000)).await;
}

/// PostgreSQL compresses long texts.
fn incompressible(length: usize) -> String {
    let mut bytes = vec![0; length / 2];
    SystemEntropy::new().fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
