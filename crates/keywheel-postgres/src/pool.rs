use std::sync::{Mutex, PoisonError};

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

    /// Runs a statement; again when it collided with another one and nothing was done.
    pub(crate) async fn write<T: Send>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl Fn(Row) -> Result<T, Fault> + Send + Sync,
    ) -> Result<Vec<T>, Fault> {
        for _ in 1..TRIES {
            match self.run(sql, params, &read).await {
                Err(fault) if fault.is_collision() => {}
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
        result
    }

    fn take(&self) -> Option<Link> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|link| !link.is_closed());
        idle.pop()
    }

    pub(crate) fn give_back(&self, link: Link) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push(link);
    }
}

/// How often a statement is run that collides with others.
const TRIES: u32 = 5;

#[cfg(test)]
mod tests {
    use std::time::Duration;

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
