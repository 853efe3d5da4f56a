//! The memory store keeps the contract of stores.

#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::conformance::Fixture;
use keywheel_connection::conformance::dead_letters::DeadLetterFixture;
use keywheel_connection::{
    ConnectionStore, DeadLetters, MemoryStore, dead_letter_conformance, store_conformance,
};
use keywheel_core::{Clock, ManualClock};

#[derive(Debug)]
struct InMemory {
    clock: ManualClock,
}

#[async_trait]
impl DeadLetterFixture for InMemory {
    async fn empty(&self) -> Arc<dyn DeadLetters> {
        Arc::new(MemoryStore::new(Arc::new(self.clock.clone())))
    }
}

#[async_trait]
impl Fixture for InMemory {
    async fn empty(&self) -> Arc<dyn ConnectionStore> {
        Arc::new(MemoryStore::new(Arc::new(self.clock.clone())))
    }

    async fn now(&self) -> DateTime<Utc> {
        self.clock.now()
    }

    async fn pass(&self, span: Duration) {
        self.clock.advance(TimeDelta::from_std(span).unwrap());
    }

    async fn set_back(&self, by: Duration) {
        self.clock.advance(-TimeDelta::from_std(by).unwrap());
    }
}

dead_letter_conformance!(InMemory {
    clock: ManualClock::new(DateTime::UNIX_EPOCH),
});

store_conformance!(InMemory {
    clock: ManualClock::new(DateTime::UNIX_EPOCH + TimeDelta::days(20_000)),
});

#[test]
fn the_store_is_where_dead_letters_are() {
    let store = MemoryStore::new(Arc::new(ManualClock::new(DateTime::UNIX_EPOCH)));

    assert!(store.as_dead_letters().is_some());
}
