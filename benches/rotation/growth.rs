//! A rotation among few stored connections, and among many.

use std::sync::Arc;

use benches::Bounds;
use keywheel_connection::conformance::sample;
use keywheel_connection::{ConnectionId, ConnectionStore};
use keywheel_postgres::PostgresStore;
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{PostgresOptions, TestDatabase, fixture};

use crate::azure::{App, Azure, apps};
use crate::cost::Costs;
use crate::engine::Engine;
use crate::size;

const FEW: usize = 1_000;
/// How many of them rotate in a round, all at once.
const COUNT: usize = 64;
const ROUNDS: usize = 40;

pub(crate) async fn run(bounds: &mut Bounds) {
    let many = std::env::var("KEYWHEEL_BENCH_ROWS").ok();
    let many = many.map_or_else(|| size(1_000_000, 2_000), |rows| rows.parse().unwrap());
    let azure = Azure::start(4 * COUNT);
    let of = |n: usize| apps(n * COUNT..(n + 1) * COUNT);
    let directory = tempfile::tempdir().unwrap();
    let small = sqlite(&directory.path().join("few.db"), FEW).await;
    let big = sqlite(&directory.path().join("many.db"), many).await;
    compare(
        bounds,
        "SQLite FULL",
        many,
        &azure,
        [(small, of(0)), (big, of(1))],
    )
    .await;
    let server = Arc::new(PostgresOptions::default().durable().start());
    let (small, big) = (TestDatabase::on(&server), TestDatabase::on(&server));
    let few = postgres(&small, FEW).await;
    let many_stored = postgres(&big, many).await;
    let stores = [(few, of(2)), (many_stored, of(3))];
    compare(bounds, "PostgreSQL", many, &azure, stores).await;
}

async fn sqlite(path: &std::path::Path, count: usize) -> Arc<dyn ConnectionStore> {
    let store = SqliteStore::builder(path).open().await.unwrap();
    let first = first(&store).await;
    let file = rusqlite::Connection::open(path).unwrap();
    file.execute_batch(&fixture::copies_in_sqlite(first, count))
        .unwrap();
    file.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    Arc::new(store)
}

async fn postgres(database: &TestDatabase, count: usize) -> Arc<dyn ConnectionStore> {
    let store = PostgresStore::builder(database.url()).without_listening();
    let store = store.open().await.unwrap();
    let first = first(&store).await;
    database.psql(&fixture::copies_in_postgres(first, count));
    database.psql("VACUUM ANALYZE");
    database.psql("CHECKPOINT");
    Arc::new(store)
}

/// Stores what is copied: a connection that is due in the far future.
async fn first(store: &dyn ConnectionStore) -> ConnectionId {
    let (first, entries) = sample::connection(1, "c1");
    let far = chrono::DateTime::from_timestamp(4_000_000_000, 0);
    store.create(&first, far, &entries).await.unwrap();
    first.id
}

async fn compare(
    bounds: &mut Bounds,
    name: &str,
    many: usize,
    azure: &Azure,
    stores: [(Arc<dyn ConnectionStore>, Vec<App>); 2],
) {
    let [(few, few_apps), (more, more_apps)] = stores;
    let few = Engine::new(few, &azure.place, &few_apps).await;
    let more = Engine::new(more, &azure.place, &more_apps).await;
    let (mut small, mut big) = (Costs::of(COUNT), Costs::of(COUNT));
    for round in 0..=size(ROUNDS, 1) {
        for (engine, costs) in [(&few, &mut small), (&more, &mut big)] {
            engine.request(COUNT).await;
            if round == 0 {
                engine.run(COUNT, COUNT).await;
            } else {
                costs.run(engine.run(COUNT, COUNT)).await;
            }
        }
    }
    println!(
        "\n{name}: rotations/s (median), processor µs: {:.0} ({:.0}), {:.0} among {FEW}; {:.0} ({:.0}), {:.0} among {many}",
        small.fastest(),
        small.median(),
        small.micros(),
        big.fastest(),
        big.median(),
        big.micros()
    );
    let ratio = small.median() / big.median();
    let claim = format!("{name}: a rotation among {many} takes at most 1.1 of one among {FEW}");
    bounds.check(claim, ratio <= 1.1, format!("{ratio:.2}"));
}
