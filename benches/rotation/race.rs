//! The engine and the floor in turns, over each store.

use std::path::Path;
use std::sync::Arc;

use benches::Bounds;
use keywheel_connection::ConnectionStore;
use keywheel_postgres::PostgresStore;
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{PostgresOptions, TestDatabase};

use crate::azure::{App, Azure, apps};
use crate::cost::Costs;
use crate::engine::Engine;
use crate::floor::Floor;
use crate::rows::Rows;
use crate::size;

/// How many rotate at once, and how many in a round.
const HEATS: [(usize, usize); 3] = [(1, 24), (16, 128), (64, 384)];

pub(crate) async fn run(bounds: &mut Bounds) {
    let most = HEATS[2].1;
    let azure = Azure::start(4 * most);
    let of = |n: usize| apps(n * most..(n + 1) * most);
    sqlite(bounds, &azure, (of(0), of(1))).await;
    postgres(bounds, &azure, (of(2), of(3))).await;
}

async fn sqlite(bounds: &mut Bounds, azure: &Azure, (ours, floors): (Vec<App>, Vec<App>)) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ours.db");
    let store = SqliteStore::builder(&path).open().await.unwrap();
    let engine = Engine::new(Arc::new(store), &azure.place, &ours).await;
    let other = directory.path().join("floor.db");
    let store = SqliteStore::builder(&other).open().await.unwrap();
    Engine::new(Arc::new(store.clone()), &azure.place, &floors).await;
    store.close().await;
    let rows = Rows::in_sqlite(&other);
    let sides = Sides {
        name: "SQLite FULL",
        floor: Floor::new(rows, &azure.place, &floors, sample(&engine).await),
        engine,
        count: Box::new(move |is_floor| in_sqlite(if is_floor { &other } else { &path })),
    };
    sides.contest(bounds, azure).await;
}

async fn postgres(bounds: &mut Bounds, azure: &Azure, (ours, floors): (Vec<App>, Vec<App>)) {
    let server = Arc::new(PostgresOptions::default().durable().start());
    let (database, other) = (TestDatabase::on(&server), TestDatabase::on(&server));
    let engine = Engine::new(open(&database).await, &azure.place, &ours).await;
    Engine::new(open(&other).await, &azure.place, &floors).await;
    let rows = Rows::in_postgres(&other.url()).await;
    let sides = Sides {
        name: "PostgreSQL",
        floor: Floor::new(rows, &azure.place, &floors, sample(&engine).await),
        engine,
        count: Box::new(move |is_floor| in_postgres(if is_floor { &other } else { &database })),
    };
    sides.contest(bounds, azure).await;
}

async fn open(database: &TestDatabase) -> Arc<dyn ConnectionStore> {
    let store = PostgresStore::builder(database.url());
    Arc::new(store.without_listening().open().await.unwrap())
}

/// The second rotation is like all that follow.
async fn sample(engine: &Engine) -> crate::engine::Sample {
    engine.sample().await;
    engine.sample().await
}

/// Saves, claims and journal entries so far.
type Written = [i64; 3];

fn in_sqlite(path: &Path) -> Written {
    let file = rusqlite::Connection::open(path).unwrap();
    let number = |sql| file.query_row(sql, [], |row| row.get(0)).unwrap();
    [
        number("SELECT sum(version) FROM connection"),
        number("SELECT sum(fence) FROM due"),
        number("SELECT count(*) FROM journal"),
    ]
}

fn in_postgres(database: &TestDatabase) -> Written {
    let number = |sql| database.psql(sql).trim().parse().unwrap();
    [
        number("SELECT sum(version) FROM keywheel.connection"),
        number("SELECT sum(fence) FROM keywheel.due"),
        number("SELECT count(*) FROM keywheel.journal"),
    ]
}

struct Sides {
    name: &'static str,
    engine: Engine,
    floor: Floor,
    /// What was written by us, or by the floor.
    count: Box<dyn Fn(bool) -> Written + Send + Sync>,
}

impl Sides {
    async fn contest(&self, bounds: &mut Bounds, azure: &Azure) {
        println!("\n{}", self.name);
        self.compare_work(bounds, azure).await;
        println!(
            "  {:<12}{:>24}{:>24}{:>26}",
            "in flight", "rotations/s (median)", "floor (median)", "processor µs, floor"
        );
        for (in_flight, count) in HEATS {
            self.heat(bounds, in_flight, size(count, 4)).await;
        }
    }

    async fn heat(&self, bounds: &mut Bounds, in_flight: usize, count: usize) {
        let (mut ours, mut floors) = (Costs::of(count), Costs::of(count));
        // The first one is not counted: connections are made in it.
        for round in 0..=size(12, 1) {
            let (mut warm, mut floors_warm) = (Costs::of(count), Costs::of(count));
            let counted = round > 0;
            let ours = if counted { &mut ours } else { &mut warm };
            let floors = if counted {
                &mut floors
            } else {
                &mut floors_warm
            };
            self.engine.request(count).await;
            ours.run(self.engine.run(count, in_flight)).await;
            self.floor.request(count).await;
            floors.run(self.floor.run(count, in_flight)).await;
        }
        println!(
            "  {in_flight:<12}{:>15.0} ({:>6.0}){:>15.0} ({:>6.0}){:>18.0}, {:>6.0}",
            ours.fastest(),
            ours.median(),
            floors.fastest(),
            floors.median(),
            ours.micros(),
            floors.micros()
        );
        if in_flight == 64 {
            let share = ours.fastest() / floors.fastest();
            let claim = format!("{}: at least 0.8 of the floor, 64 in flight", self.name);
            bounds.check(claim, share >= 0.8, format!("{share:.2}"));
            let share = ours.micros() / floors.micros();
            let claim = format!("{}: at most 1.25 of the floor's processor time", self.name);
            bounds.check(claim, share <= 1.25, format!("{share:.2}"));
        }
    }

    /// Both sides do the same, or the contest is none.
    async fn compare_work(&self, bounds: &mut Bounds, azure: &Azure) {
        const COUNT: usize = 16;
        let (last, _) = azure.requests_after(0).await;
        let before = (self.count)(false);
        self.engine.request(COUNT).await;
        self.engine.run(COUNT, COUNT).await;
        let (last, requests) = azure.requests_after(last).await;
        let mut written = less((self.count)(false), before);
        // The request for each was saved too.
        written[0] -= COUNT as i64;
        let before = (self.count)(true);
        self.floor.request(COUNT).await;
        self.floor.run(COUNT, COUNT).await;
        let (_, floors) = azure.requests_after(last).await;
        let floor_written = less((self.count)(true), before);
        let [tokens, adds, reads, removes] = requests;
        let [saves, claims, entries] = written;
        let seen = format!(
            "{tokens} tokens, {adds} addPassword, {reads} reads, {removes} removePassword; {claims} claims, \
             {saves} saves, {entries} entries for {COUNT} rotations"
        );
        let same = requests == floors && written == floor_written;
        bounds.check("the floor makes the same requests and rows", same, seen);
        if !same {
            println!("  the floor: {floors:?}, {floor_written:?} (saves, claims, entries)");
        }
    }
}

fn less(after: Written, before: Written) -> Written {
    std::array::from_fn(|n| after[n] - before[n])
}
