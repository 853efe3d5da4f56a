use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::conformance::Fixture;
use keywheel_connection::{ConnectionStore, store_conformance};
use keywheel_core::Secret;
use keywheel_postgres::PostgresStore;
use keywheel_testkit::{PostgresServer, TestDatabase};

#[derive(Debug)]
struct OnServer(TestDatabase);

impl OnServer {
    fn new() -> Self {
        Self(PostgresServer::shared_database())
    }

    /// Lets the store's clock show another time than the server's.
    fn step(&self, micros: i64) {
        self.0.psql(&format!(
            "UPDATE step SET micros = micros + {micros}; SELECT keywheel.now_micros()"
        ));
    }
}

#[async_trait]
impl Fixture for OnServer {
    async fn empty(&self) -> Arc<dyn ConnectionStore> {
        let url = Secret::new(self.0.url());
        let store = PostgresStore::builder(url).open().await.unwrap();
        self.0.psql(
            "CREATE TABLE step AS SELECT 0::bigint AS micros;
             CREATE OR REPLACE FUNCTION keywheel.now_micros() RETURNS bigint LANGUAGE sql VOLATILE AS
             'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
                  + (SELECT micros FROM public.step)'",
        );
        Arc::new(store)
    }

    async fn now(&self) -> DateTime<Utc> {
        let now = self.0.psql("SELECT keywheel.now_micros()");
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
