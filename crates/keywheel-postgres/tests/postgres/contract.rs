use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::conformance::Fixture;
use keywheel_connection::{ConnectionStore, store_conformance};
use keywheel_core::Secret;
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{PgBouncer, PostgresServer, TestDatabase};

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

    fn url(&self) -> String {
        match &self.bouncer {
            Some(bouncer) => bouncer.url(self.database.name()),
            None => self.database.url(),
        }
    }

    /// Lets the store's clock show another time than the server's.
    fn step(&self, micros: i64) {
        self.database.psql(&format!(
            "UPDATE step SET micros = micros + {micros}; SELECT keywheel.now_micros()"
        ));
    }
}

#[async_trait]
impl Fixture for OnServer {
    async fn empty(&self) -> Arc<dyn ConnectionStore> {
        keywheel_testkit::watch_logs();
        let url = Secret::new(self.url());
        let store = PostgresStore::builder(url).open().await.unwrap();
        self.database.psql(
            "CREATE TABLE step AS SELECT 0::bigint AS micros;
             CREATE OR REPLACE FUNCTION keywheel.now_micros() RETURNS bigint LANGUAGE sql VOLATILE AS
             'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
                  + (SELECT micros FROM public.step)'",
        );
        Arc::new(store)
    }

    async fn now(&self) -> DateTime<Utc> {
        let now = self.database.psql("SELECT keywheel.now_micros()");
        DateTime::from_timestamp_micros(now.trim().parse().unwrap()).unwrap()
    }

    async fn pass(&self, span: Duration) {
        self.step(i64::try_from(span.as_micros()).unwrap());
    }

    async fn set_back(&self, by: Duration) {
        self.step(-i64::try_from(by.as_micros()).unwrap());
    }
}

store_conformance!(OnServer::new());
