use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::conformance::Fixture;
use keywheel_connection::conformance::dead_letters::DeadLetterFixture;
use keywheel_connection::{
    ConnectionStore, DeadLetters, dead_letter_conformance, store_conformance,
};
use keywheel_core::Secret;
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{PgBouncer, PostgresServer, TestDatabase};

use crate::rows;

#[derive(Debug)]
pub(crate) struct OnServer {
    database: TestDatabase,
    bouncer: Option<PgBouncer>,
}

impl OnServer {
    fn new() -> Self {
        Self {
            database: PostgresServer::shared_database(),
            bouncer: None,
        }
    }

    /// One that is reached through a PgBouncer of its own, which pools transactions.
    pub(crate) fn behind_a_pooler() -> Self {
        let server = PostgresServer::shared();
        Self {
            bouncer: Some(PgBouncer::before(&server)),
            database: TestDatabase::on(&server),
        }
    }

    async fn open(&self) -> PostgresStore {
        keywheel_testkit::watch_logs();
        let url = Secret::new(self.url());
        PostgresStore::builder(url).open().await.unwrap()
    }

    fn url(&self) -> String {
        match &self.bouncer {
            Some(bouncer) => bouncer.url(self.database.name()),
            None => self.database.url(),
        }
    }
}

#[async_trait]
impl DeadLetterFixture for OnServer {
    async fn empty(&self) -> Arc<dyn DeadLetters> {
        Arc::new(self.open().await)
    }
}

#[async_trait]
impl Fixture for OnServer {
    async fn empty(&self) -> Arc<dyn ConnectionStore> {
        let store = self.open().await;
        rows::let_clock_step(&self.database);
        Arc::new(store)
    }

    async fn now(&self) -> DateTime<Utc> {
        let now = self.database.psql("SELECT keywheel.now_micros()");
        DateTime::from_timestamp_micros(now.trim().parse().unwrap()).unwrap()
    }

    async fn pass(&self, span: Duration) {
        rows::step_clock(&self.database, TimeDelta::from_std(span).unwrap());
    }

    async fn set_back(&self, by: Duration) {
        rows::step_clock(&self.database, -TimeDelta::from_std(by).unwrap());
    }
}

store_conformance!(OnServer::new());
dead_letter_conformance!(OnServer::new());

#[tokio::test]
async fn the_store_is_where_dead_letters_are() {
    let store = OnServer::new().open().await;

    assert!(store.as_dead_letters().is_some());
}
