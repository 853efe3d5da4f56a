//! What a rotation in flight takes, and what stays of one that is over.

use std::sync::Arc;

use keywheel_sqlite::SqliteStore;

use crate::azure::{Azure, apps};
use crate::cost::{forget_the_peak, number, resident};
use crate::engine::Engine;
use crate::size;

const FEW: usize = 64;

pub(crate) fn run() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let many = size(1024, 128);
        let azure = Azure::start(many * 2);
        let directory = tempfile::tempdir().unwrap();
        let store = SqliteStore::builder(directory.path().join("memory.db")).open();
        let apps = apps(0..many * 2);
        let engine = Engine::new(Arc::new(store.await.unwrap()), &azure.place, &apps).await;
        let peak = async |in_flight| {
            forget_the_peak();
            engine.request(many).await;
            engine.run(many, in_flight).await;
            resident().1
        };
        peak(FEW).await;
        let few = peak(FEW).await;
        let (idle, _) = resident();
        engine.request(many * 2).await;
        engine.run(many * 2, FEW).await;
        let (later, _) = resident();
        let all = peak(many).await;
        println!(
            "\nmemory: {:.1} KiB for a rotation in flight, its TLS connection included ({:.1} MiB with {FEW}, {:.1} \
             MiB with {many}); {:.1} KiB stay for a connection that was rotated",
            (all - few) / number(many - FEW),
            few / 1024.0,
            all / 1024.0,
            (later - idle) / number(many)
        );
    });
}
