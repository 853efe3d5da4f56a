use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keywheel::connection::ConnectionStore;
use keywheel::core::Secret;
use tokio::time::{Instant, sleep};

use crate::fleet::Fleet;

/// After a rotation the secret that was revoked is not in the memory of the worker that rotated it. It has an
/// allocator that wipes what is freed, since buffers of the network stack held the secret too. And no secret
/// that was ever in use is in its log at TRACE, in an event, in its metrics or in the database.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_revoked_is_not_in_memory_and_no_secret_is_anywhere_else() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("log");
    let fleet = Fleet::start(5).await;
    let metrics = folder.path().join("metrics");
    let worker = fleet.watched_worker(&log, &metrics);
    let mut known = originals(&fleet);
    let mut revoked = Vec::new();

    for generation in 1..=3 {
        if generation > 1 {
            fleet.request().await;
        }
        settled(&fleet, generation).await;
        revoked.clone_from(&known);
        for member in &fleet.members {
            known.push(fleet.current(member).await.unwrap().1);
        }
    }
    // Connections that are no longer used still have parts of the last answer in their buffers.
    sleep(Duration::from_secs(3)).await;

    let core = core_of(worker.id().unwrap(), folder.path());
    // A form has it percent-encoded.
    let found = |text: &Secret, place: &[u8]| {
        let encoded = text.expose().replace('~', "%7E");
        contains(place, text.expose().as_bytes()) || contains(place, encoded.as_bytes())
    };
    assert!(
        contains(&core, b"keywheel"),
        "the core file is one of the worker"
    );
    for secret in &revoked {
        assert!(
            !found(secret, &core),
            "a revoked secret is in the memory of the worker"
        );
    }
    let log = fs::read(log).unwrap();
    assert!(
        contains(&log, b"rotation.step.done"),
        "the log is one of a rotation"
    );
    let metrics = fs::read(metrics).unwrap();
    assert!(
        contains(&metrics, b"keywheel_rotations"),
        "the metrics are those of a rotation"
    );
    let database = fleet.server.dump("postgres").into_bytes();
    assert!(
        contains(&database, b"rotation.promoted"),
        "the dump has the journal"
    );
    let events = events(&fleet).await;
    for secret in &known {
        assert!(!found(secret, &log), "a secret is in the log");
        assert!(!found(secret, &metrics), "a secret is in the metrics");
        assert!(!found(secret, &database), "a secret is in the database");
        assert!(!found(secret, events.as_bytes()), "a secret is in an event");
    }
    println!(
        "leaks: {} secrets of {} rotations searched for; core file {} MB: {} revoked, 0 found; log at TRACE \
         {} kB, metrics {} kB, database {} kB: 0 found",
        known.len(),
        known.len() - fleet.members.len(),
        core.len() >> 20,
        revoked.len(),
        log.len() >> 10,
        metrics.len() >> 10,
        database.len() >> 10,
    );
}

fn originals(fleet: &Fleet) -> Vec<Secret> {
    let members = fleet.members.iter();
    members
        .map(|member| Secret::new(member.application.secret.clone()))
        .collect()
}

async fn settled(fleet: &Fleet, generation: u64) {
    let begun = Instant::now();
    while fleet.settled(generation).await < fleet.members.len() {
        assert!(
            begun.elapsed() < Duration::from_mins(2),
            "generation {generation}"
        );
        sleep(Duration::from_millis(200)).await;
    }
}

async fn events(fleet: &Fleet) -> String {
    let entries = fleet
        .store
        .entries(keywheel::connection::Cursor::START, 100_000)
        .await;
    let bodies = entries.unwrap().into_iter().map(|(_, entry)| entry.body);
    bodies.collect::<Vec<_>>().join("\n")
}

/// Writes a core file of a running process with gdb's `gcore`.
fn core_of(process: u32, folder: &Path) -> Vec<u8> {
    let gcore = || {
        Command::new("gcore")
            .arg("-o")
            .arg(folder.join("core"))
            .arg(process.to_string())
            .output()
    };
    let output = gcore().or_else(|_| {
        let mut install = Command::new("apt-get");
        install.args(["install", "-y", "--no-install-recommends", "gdb"]);
        drop(install.env("DEBIAN_FRONTEND", "noninteractive").output());
        gcore()
    });
    let output = output.expect("gcore is needed: run `apt-get install gdb`");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    fs::read(folder.join(format!("core.{process}"))).unwrap()
}

fn contains(place: &[u8], text: &[u8]) -> bool {
    let mut rest = place;
    let first = text[0];
    while let Some(at) = rest.iter().position(|byte| *byte == first) {
        if rest[at..].starts_with(text) {
            return true;
        }
        rest = &rest[at + 1..];
    }
    false
}
