use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use keywheel::connection::ConnectionStore;
use keywheel::core::Secret;
use keywheel_testkit::{cases, figure};
use tokio::time::{Instant, sleep};

use crate::chaos::signal;
use crate::fleet::{CANARY, Fleet};

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

    let cores = cores_of(worker.id().unwrap(), folder.path());
    // A form has it percent-encoded.
    let found = |text: &Secret, place: &[u8]| {
        let encoded = text.expose().replace('~', "%7E");
        contains(place, text.expose().as_bytes()) || contains(place, encoded.as_bytes())
    };
    let canary: Vec<u8> = CANARY.bytes().rev().collect();
    for (how, core) in &cores {
        assert!(contains(core, &canary), "{how}: the heap is in it");
        for secret in &revoked {
            let found = found(secret, core);
            assert!(
                !found,
                "{how}: a revoked secret is in the memory of the worker"
            );
        }
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
    let sizes = cores
        .iter()
        .map(|(how, core)| format!("{how} {} MB", core.len() >> 20));
    let sizes = sizes.collect::<Vec<_>>().join(", ");
    let told = format!(
        "{} secrets of {} rotations searched for; memory by {sizes}: {} revoked, 0 found; log at TRACE {} kB, \
         metrics {} kB, database {} kB: 0 found",
        known.len(),
        known.len() - fleet.members.len(),
        revoked.len(),
        log.len() >> 10,
        metrics.len() >> 10,
        database.len() >> 10,
    );
    figure("leaks", &told);
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

/// The memory of a running process, as we read it and, in the full run, as `gcore` writes it.
fn cores_of(worker: u32, folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let mut cores = vec![("/proc", memory_of(worker))];
    if cases(0, 1) == 1 {
        cores.push(("gcore", gcore(worker, folder)));
    }
    cores
}

/// All mappings, whatever the process asks for not to be in its core files.
fn gcore(worker: u32, folder: &Path) -> Vec<u8> {
    let (prefix, id) = (folder.join("core"), worker.to_string());
    let mut command = Command::new("gcore");
    command.arg("-a").arg("-o").arg(&prefix).arg(&id);
    let written = command.output();
    let written = written.expect("gcore is missing; install it: apt-get install gdb");
    assert!(
        written.status.success(),
        "gcore can't read the memory of a process that is not its child; run the test as root, or allow it: \
         sysctl kernel.yama.ptrace_scope=0: {written:?}"
    );
    fs::read(prefix.with_extension(id)).unwrap()
}

/// Reads every page of a running process that can be read.
fn memory_of(worker: u32) -> Vec<u8> {
    signal(worker, "STOP");
    let maps = fs::read_to_string(format!("/proc/{worker}/maps")).unwrap();
    let memory = File::open(format!("/proc/{worker}/mem")).unwrap();
    let mut core = Vec::new();
    for (map, line) in maps.lines().filter_map(readable) {
        let (start, length) = (map.start, (map.end - map.start) as usize);
        let at = core.len();
        core.resize(at + length, 0);
        if memory.read_exact_at(&mut core[at..], start).is_err() {
            // Only what the kernel shows of itself, and the end of a file beyond its last page.
            assert!(!line.contains(" rw"), "a mapping can't be read: {line}");
            read_by_page(&memory, start, &mut core[at..]);
        }
    }
    signal(worker, "CONT");
    core
}

fn read_by_page(memory: &File, start: u64, place: &mut [u8]) {
    for (page, at) in place.chunks_mut(4096).zip((start..).step_by(4096)) {
        if memory.read_exact_at(page, at).is_err() {
            page.fill(0);
        }
    }
}

/// Parses the range of a line of `maps`, as in `7f12a000-7f12b000 rw-p 00000000 00:00 0`.
fn readable(line: &str) -> Option<(Range<u64>, &str)> {
    let (range, rest) = line.split_once(' ')?;
    let (start, end) = range.split_once('-')?;
    let parse = |text| u64::from_str_radix(text, 16).ok();
    let range = parse(start)?..parse(end)?;
    rest.starts_with('r').then_some((range, line))
}

fn contains(place: &[u8], text: &[u8]) -> bool {
    memchr::memmem::find(place, text).is_some()
}
