use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::conformance::Fixture;
use keywheel_connection::conformance::dead_letters::DeadLetterFixture;
use keywheel_connection::{
    ConnectionStore, DeadLetters, dead_letter_conformance, store_conformance,
};
use keywheel_core::{Clock, ManualClock};
use keywheel_sqlite::SqliteStore;
use tempfile::TempDir;

#[derive(Debug)]
struct OnDisk {
    directory: TempDir,
    clock: ManualClock,
}

impl OnDisk {
    fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: ManualClock::new(DateTime::UNIX_EPOCH + TimeDelta::days(20_000)),
        }
    }

    async fn open(&self) -> SqliteStore {
        keywheel_testkit::watch_logs();
        let builder = SqliteStore::builder(self.directory.path().join("keywheel.db"));
        builder.clock(self.clock.clone()).open().await.unwrap()
    }
}

#[async_trait]
impl DeadLetterFixture for OnDisk {
    async fn empty(&self) -> Arc<dyn DeadLetters> {
        Arc::new(self.open().await)
    }
}

#[async_trait]
impl Fixture for OnDisk {
    async fn empty(&self) -> Arc<dyn ConnectionStore> {
        Arc::new(self.open().await)
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

store_conformance!(OnDisk::new());
dead_letter_conformance!(OnDisk::new());

#[tokio::test]
async fn the_store_is_where_dead_letters_are() {
    let store = OnDisk::new().open().await;

    assert!(store.as_dead_letters().is_some());
}
