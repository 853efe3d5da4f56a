//! The tests that need other processes: killed, stopped, many at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;
use std::{fs, thread};

use keywheel_connection::ConnectionStore;
use keywheel_connection::conformance::sample;
use keywheel_core::{Clock, Entropy, SystemClock, SystemEntropy};
use keywheel_sqlite::SqliteStore;
use keywheel_testkit::{
    Acks, Child, cases, check_a_stopped_holder_is_fenced_off, check_claimers_in_four_processes,
    claim_with_others, figure, load, write_with_an_old_lease,
};

use crate::rows;

/// Every write that the process reported is there, and of those that it did not, all or nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_writer_loses_nothing_and_leaves_no_half() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let kills = cases(12, 200);
    let acks = Acks::default();

    for n in 0..kills {
        // One in four while it opens the file, recovers it or, the first time, creates it.
        let opening = n % 4 == 0;
        let (to, noted) = (path.clone(), acks.clone());
        let killed = move || write_until_killed(&to, &noted, opening);
        tokio::task::spawn_blocking(killed).await.unwrap();
        // The other times the next writer is the one to recover.
        if n % 2 == 1 {
            check(directory.path(), &path, &acks, n % 20 == 19).await;
        }
    }

    check(directory.path(), &path, &acks, true).await;
    figure(
        "SQLite, killed writers",
        &format!(
            "{kills} times SIGKILL, {} acknowledged writes, none lost",
            acks.writes()
        ),
    );
    assert!(acks.writes() > u64::from(kills), "{}", acks.writes());
}

fn write_until_killed(path: &Path, acks: &Acks, opening: bool) {
    let mut child = Child::start(
        "processes::writes_until_it_is_killed",
        path.to_str().unwrap(),
    );
    let id = child.id();
    let (began, begun) = channel();
    let reader = thread::spawn({
        let acks = acks.clone();
        move || {
            while let Some(line) = child.line() {
                acks.add(line.parse().unwrap());
                let _ = began.send(());
            }
        }
    });
    if !opening {
        begun.recv().unwrap();
    }
    let span = Duration::from_secs_f64(SystemEntropy::new().unit() * 0.08);
    let (_never, wait) = channel::<()>();
    let _ = wait.recv_timeout(span);
    let kill = std::process::Command::new("kill")
        .args(["-s", "KILL", &id.to_string()])
        .status();
    assert!(kill.unwrap().success(), "it ended by itself");
    reader.join().unwrap();
}

/// Looks at a copy, as the next process would find it.
async fn check(directory: &Path, path: &Path, acks: &Acks, journals: bool) {
    let copy = directory.join("copy.db");
    for end in ["", "-wal"] {
        let (from, to) = (with_end(path, end), with_end(&copy, end));
        if from.exists() {
            fs::copy(from, to).unwrap();
        }
    }
    let store = SqliteStore::builder(&copy).open().await.unwrap();
    acks.check(&store).await;
    if journals {
        acks.verify_journals(&store).await;
    }
    store.close().await;
    rows::assert_no_halves(&copy);
    fs::remove_file(copy).unwrap();
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    format!("{}{end}", path.display()).into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn writes_until_it_is_killed() {
    let store = SqliteStore::builder(Child::argument())
        .open()
        .await
        .unwrap();
    load(Arc::new(store), Child::report).await;
}

/// Sixteen claimers in four processes share a file.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn claimers_in_four_processes_never_share_a_fence() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let count = cases(2_000, 100_000) as usize;
    let store = SqliteStore::builder(&path).open().await.unwrap();
    rows::fill(&store, &path, count, Some(SystemClock::new().now())).await;

    check_claimers_in_four_processes("processes::claims_all", path.to_str().unwrap(), count);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn claims_all() {
    let store = SqliteStore::builder(Child::argument());
    let store = store
        .busy_timeout(Duration::from_secs(60))
        .open()
        .await
        .unwrap();
    claim_with_others(&store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_stopped_past_its_lease_writes_nothing_more() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keywheel.db");
    let store = SqliteStore::builder(&path).open().await.unwrap();

    let holder = "processes::holds_a_lease_too_long";
    check_a_stopped_holder_is_fenced_off(&store, holder, path.to_str().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a process of another test"]
async fn holds_a_lease_too_long() {
    let store = SqliteStore::builder(Child::argument())
        .open()
        .await
        .unwrap();
    write_with_an_old_lease(&store).await;
}

/// What a worker holds does not grow with the number of connections that are not due.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_cost_a_worker_no_memory() {
    let mut held_by = Vec::new();
    for count in [100, cases(20_000, 100_000) as usize] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keywheel.db");
        let store = SqliteStore::builder(&path).open().await.unwrap();
        let tomorrow = SystemClock::new().now() + chrono::TimeDelta::days(1);
        rows::fill(&store, &path, count, Some(tomorrow)).await;
        store.close().await;
        let child = Child::start("processes::polls", path.to_str().unwrap());
        let lines = tokio::task::spawn_blocking(|| child.finish())
            .await
            .unwrap();
        held_by.push(lines[0].parse::<u64>().unwrap());
    }
    println!("memory of a worker, with few and with many connections: {held_by:?} kB");
    assert!(held_by[1] < held_by[0] + 1_024, "{held_by:?} kB");
}

#[tokio::test]
#[ignore = "a process of another test"]
async fn polls() {
    let store = SqliteStore::builder(Child::argument())
        .open()
        .await
        .unwrap();
    for n in 0..500 {
        let claims = store
            .claim_due(sample::holder(n), 64, Duration::from_secs(60))
            .await;
        assert_eq!(claims.unwrap(), []);
    }
    // Without what is mapped from the program's file, which depends on what else the machine reads.
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let held = status
        .lines()
        .find_map(|line| line.strip_prefix("RssAnon:"))
        .unwrap();
    Child::report(held.trim().trim_end_matches(" kB"));
}
