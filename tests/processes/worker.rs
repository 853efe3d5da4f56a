//! A worker process of the tests: PostgreSQL, the real HTTP client, and nothing else. It ends on SIGTERM,
//! or when it is killed.
#![allow(clippy::unwrap_used, reason = "a worker that can't start is seen")]

use std::alloc::System;
use std::env;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel::Keywheel;
use keywheel::connection::KeyRing;
use keywheel::core::ReqwestSend;
use keywheel::postgres::PostgresStore;
use keywheel::rotation::{Policy, WorkerOptions};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::filter::LevelFilter;
use zeroizing_alloc::ZeroAlloc;

/// Wipes what is freed. The buffers of the network stack are not wiped otherwise, and what they held would
/// stay in memory until they are used again.
#[global_allocator]
static ALLOCATOR: ZeroAlloc<System> = ZeroAlloc(System);

#[tokio::main(worker_threads = 2)]
async fn main() {
    end_on_panic();
    let canary = canary();
    if let Some(path) = env::var_os("KEYWHEEL_TEST_LOG") {
        let file = std::fs::File::create(path).unwrap();
        tracing_subscriber::fmt()
            .with_max_level(LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(file)
            .init();
    } else {
        keywheel_testkit::watch_logs();
    }
    if let Some(path) = env::var_os("KEYWHEEL_TEST_METRICS") {
        let metrics = PrometheusBuilder::new().install_recorder().unwrap();
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                std::fs::write(&path, metrics.render()).unwrap();
            }
        });
    }
    let ca = std::fs::read(variable("KEYWHEEL_CA_CERTIFICATE")).unwrap();
    let http = ReqwestSend::builder()
        .root_certificates(ca)
        .without_system_roots()
        .timeout(Duration::from_secs(5))
        .idle_timeout(Duration::from_secs(1))
        .build();
    let ring = KeyRing::from_base64(&variable("KEYWHEEL_SEALING_KEY")).unwrap();
    let keywheel = Keywheel::builder(store().await, ring)
        .http(http.unwrap())
        .policy(policy())
        .build()
        .unwrap();
    let mut options = WorkerOptions::default();
    options.poll = Duration::from_millis(300);
    options.shutdown = Duration::from_secs(5);
    let mut terminate = signal(SignalKind::terminate()).unwrap();
    let shutdown = async move {
        terminate.recv().await;
    };
    let ended = keywheel.worker().options(options).run(shutdown).await;
    println!("{} parked, {} abandoned", ended.parked, ended.abandoned);
    drop(std::hint::black_box(canary));
}

/// The worker catches the panic of a rotation and goes on. Here nobody is to overlook one.
fn end_on_panic() {
    let tell = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        tell(panic);
        std::process::abort();
    }));
}

/// What is nowhere but on the heap: the environment has it the other way round. Who searches the memory of
/// this process has seen its heap when they find it.
fn canary() -> Vec<u8> {
    let text = env::var("KEYWHEEL_TEST_CANARY").unwrap_or_default();
    std::hint::black_box(text.bytes().rev().collect())
}

/// Leases and windows of seconds instead of minutes, so that a test sees many of them.
fn policy() -> Policy {
    let mut policy = Policy::default();
    policy.lease = Duration::from_secs(3);
    policy.settle = TimeDelta::seconds(3);
    policy.read_spacing = TimeDelta::milliseconds(500);
    policy.retry.base = Duration::from_millis(200);
    policy.retry.cap = Duration::from_secs(3);
    policy.halted = TimeDelta::seconds(3);
    policy
}

/// The database may be down when the process starts.
async fn store() -> PostgresStore {
    let url = variable("KEYWHEEL_DATABASE");
    loop {
        match PostgresStore::builder(url.clone()).open().await {
            Ok(store) => return store,
            Err(error) if error.is_transient() => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}
