use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres::Row;

use crate::error::{Fault, closed, too_slow};
use crate::link::{Connector, Link, Param};

/// A few connections that calls take turns on.
#[derive(Debug)]
pub(crate) struct Pool {
    connector: Connector,
    permits: Semaphore,
    idle: Mutex<Vec<Link>>,
}

impl Pool {
    pub(crate) fn new(connector: Connector, connections: usize) -> Self {
        Self {
            connector,
            permits: Semaphore::new(connections),
            idle: Mutex::default(),
        }
    }

    /// Runs a statement that may be run twice: again on a new connection when the one at hand had gone bad.
    pub(crate) async fn read(&self, sql: &str, params: &[Param<'_>]) -> Result<Vec<Row>, Fault> {
        match self.run(sql, params, Ok).await {
            Err(fault @ Fault::Failed(_)) if !fault.spares_connection() => {
                self.run(sql, params, Ok).await
            }
            result => result,
        }
    }

    /// Runs a statement; again when nothing was done and it may succeed at once.
    pub(crate) async fn write<T: Send>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl Fn(Row) -> Result<T, Fault> + Send + Sync,
    ) -> Result<Vec<T>, Fault> {
        for _ in 1..TRIES {
            match self.run(sql, params, &read).await {
                Err(fault) if fault.is_passing() => {}
                result => return result,
            }
        }
        self.run(sql, params, &read).await
    }

    async fn run<T: Send>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl Fn(Row) -> Result<T, Fault> + Send + Sync,
    ) -> Result<Vec<T>, Fault> {
        let permit = timeout(self.connector.patience(), self.permits.acquire()).await;
        let _permit = permit.map_err(|_| too_slow())?.map_err(|_| closed())?;
        let link = match self.take() {
            Some(link) => link,
            // Boxed, or else every call would move room for a TLS handshake about.
            None => Box::pin(self.connector.connect()).await?,
        };
        let result = link.run(sql, params, read).await;
        if result.as_ref().err().is_none_or(Fault::spares_connection) {
            self.give_back(link);
        }
        if result.as_ref().err().is_some_and(Fault::is_read_only) {
            // All others are to the same server.
            self.idle().clear();
        }
        result
    }

    /// Runs a statement that takes long on a connection of its own, out of everybody's way.
    pub(crate) async fn run_beside(&self, sql: &str) -> Result<(), Fault> {
        let link = Box::pin(self.connector.connect()).await?;
        link.batch_within(LONG, sql).await
    }

    fn take(&self) -> Option<Link> {
        let mut idle = self.idle();
        idle.retain(|link| !link.is_closed());
        idle.pop()
    }

    pub(crate) fn give_back(&self, link: Link) {
        self.idle().push(link);
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Link>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How long a statement may take that nobody waits for.
const LONG: Duration = Duration::from_mins(10);

/// How often a statement is run that collides with others.
const TRIES: u32 = 5;

#[cfg(test)]
mod tests {
    use keywheel_core::Secret;

    use super::*;

    /// Room for a TLS handshake was in it once, and copied and given back at every call.
    #[test]
    fn a_call_takes_little_memory_whatever_it_takes_to_connect() {
        let url = Secret::new("postgres://localhost/database");
        let connector = Connector::new(&url, None, Duration::from_secs(1)).unwrap();
        let pool = Pool::new(connector, 1);

        assert!(size_of_val(&pool.run("SELECT 1", &[], Ok)) < 2_048);
        assert!(size_of_val(&pool.write("SELECT 1", &[], Ok)) < 8_192);
    }
}
