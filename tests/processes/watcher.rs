use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::fleet::{Fleet, Member};

/// Looks at the database and the directory all the time: what is stored as current must be accepted.
#[derive(Debug, Default)]
pub(crate) struct Watcher {
    done: AtomicBool,
    pub(crate) looks: AtomicU64,
}

impl Watcher {
    pub(crate) fn end(&self) {
        self.done.store(true, Ordering::Relaxed);
    }

    /// Looks at one connection after the other until it is told to end.
    pub(crate) async fn watch(&self, fleet: &Fleet) {
        for member in fleet.members.iter().cycle() {
            if self.done.load(Ordering::Relaxed) {
                return;
            }
            self.look(fleet, member).await;
        }
    }

    async fn look(&self, fleet: &Fleet, member: &Member) {
        let client = member.application.client;
        let foreign = &member.application.foreign;
        assert!(fleet.azure.accepts(client, foreign).await, "G3: {member:?}");
        loop {
            // `None` while the database is down.
            let Some((generation, secret)) = fleet.current(member).await else {
                return;
            };
            if fleet.azure.accepts(client, secret.expose()).await {
                self.looks.fetch_add(1, Ordering::Relaxed);
                return;
            }
            // It may have been replaced and revoked in between: then another one is stored by now.
            let Some((newer, _)) = fleet.current(member).await else {
                return;
            };
            assert!(
                newer > generation,
                "G1: locked out: {member:?} at {generation}"
            );
        }
    }
}
