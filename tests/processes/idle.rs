use std::fs;
use std::time::Duration;

use keywheel_testkit::{cases, figure, fixture};
use tokio::process::Child;
use tokio::time::{Instant, sleep};

use crate::fleet::Fleet;

/// Neither one that was there before them nor one that starts among them. And each poll reads an index.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_a_worker_no_memory() {
    let count = cases(20_000, 100_000);
    let fleet = Fleet::start(1).await;
    let first = fleet.worker();
    let begun = Instant::now();
    while fleet.settled(1).await < 1 {
        waits(begun).await;
    }
    drop(first);

    let worker = fleet.worker();
    polls(&fleet).await;
    let alone = memory(&worker);
    let copies = fixture::copies_in_postgres(fleet.members[0].id, count as usize);
    fleet.server.psql("postgres", &copies);
    polls(&fleet).await;
    let among = memory(&worker);
    drop(worker);
    let before = reads(&fleet);
    let worker = fleet.worker();
    polls(&fleet).await;
    let anew = memory(&worker);

    let whole = reads(&fleet).whole - before.whole;
    figure(
        "idle connections",
        &format!(
            "memory of a worker with one idle connection: {alone} kB; with {count}: {among} kB, started among them \
             {anew} kB; reads of the whole table: {whole}"
        ),
    );
    // Once, when it opened the store, for what a clock that was set back has left.
    assert!(whole <= 1, "{whole}");
    // A page of them takes some: whoever starts looks at each once.
    for many in [among, anew] {
        assert!(many < alone + 2_048, "{alone} kB, {many} kB");
    }
}

/// Waits until a worker has polled some twenty times.
async fn polls(fleet: &Fleet) {
    let (begun, before) = (Instant::now(), reads(fleet));
    while reads(fleet).all() < before.all() + 20 {
        waits(begun).await;
    }
}

async fn waits(begun: Instant) {
    assert!(begun.elapsed() < Duration::from_mins(2), "nothing happens");
    sleep(Duration::from_millis(200)).await;
}

/// How often the table of what is due was read, by the server's own count.
struct Reads {
    whole: u64,
    by_index: u64,
}

impl Reads {
    fn all(&self) -> u64 {
        self.whole + self.by_index
    }
}

fn reads(fleet: &Fleet) -> Reads {
    let sql = "SELECT seq_scan || ' ' || idx_scan FROM pg_stat_user_tables WHERE relname = 'due'";
    let counts = fleet.server.psql("postgres", sql);
    let (whole, by_index) = counts.trim().split_once(' ').unwrap();
    Reads {
        whole: whole.parse().unwrap(),
        by_index: by_index.parse().unwrap(),
    }
}

/// Returns how many kB the process holds, without what is mapped from its program's file.
fn memory(worker: &Child) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", worker.id().unwrap())).unwrap();
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"));
    let held = held.unwrap().trim().trim_end_matches(" kB");
    held.parse().unwrap()
}
