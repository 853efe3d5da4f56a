use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio::time::timeout;
use tokio_postgres::Row;

use crate::error::{Fault, closed, too_slow};
use crate::link::{Connector, Link, Param};

/// A few connections that calls take turns on.
#[derive(Debug)]
pub(crate) struct Pool {
    connector: Connector,
    permits: Semaphore,
    idle: Mutex<Idle>,
    /// Held by the one that looks for a server that accepts writes.
    moving: AsyncMutex<()>,
}

/// Connections that nobody uses, all of them since the last move to another server.
#[derive(Debug, Default)]
struct Idle {
    links: Vec<Link>,
    moves: u64,
}

impl Pool {
    pub(crate) fn new(connector: Connector, connections: usize, links: Vec<Link>) -> Self {
        Self {
            connector,
            permits: Semaphore::new(connections),
            idle: Mutex::new(Idle { links, moves: 0 }),
            moving: AsyncMutex::default(),
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
            let moves = self.idle().moves;
            match self.run(sql, params, &read).await {
                Err(fault) if fault.is_read_only() => {
                    if !Box::pin(self.move_on(moves)).await {
                        return Err(fault);
                    }
                }
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
        let (link, moves) = self.take();
        let link = match link {
            Some(link) => link,
            // Boxed, or else every call would move room for a TLS handshake about.
            None => Box::pin(self.connector.connect()).await?,
        };
        let result = link.run(sql, params, read).await;
        if result.as_ref().err().is_none_or(Fault::spares_connection) {
            self.give_back(link, moves);
        }
        result
    }

    /// Leaves a server that has become read-only, if another one accepts writes (or the same one does by now):
    /// no connection of before is used again. Otherwise all stay, so that reads go on. Tells whether it was
    /// left, by somebody, since there were so many `moves`.
    async fn move_on(&self, moves: u64) -> bool {
        let Ok(_turn) = timeout(self.connector.patience(), self.moving.lock()).await else {
            return false;
        };
        if self.idle().moves != moves {
            return true;
        }
        match self.connector.connect().await {
            Ok(link) => {
                let mut idle = self.idle();
                idle.moves += 1;
                idle.links = vec![link];
                true
            }
            Err(fault) => {
                tracing::debug!(error = ?fault, "store.move.failed");
                false
            }
        }
    }

    /// Runs a statement that takes long on a connection of its own, out of everybody's way.
    pub(crate) async fn run_beside(&self, sql: &str) -> Result<(), Fault> {
        let link = Box::pin(self.connector.connect()).await?;
        link.batch_within(LONG, sql).await
    }

    /// Returns an idle connection, if there is one, and how many moves there were before it.
    fn take(&self) -> (Option<Link>, u64) {
        let mut idle = self.idle();
        idle.links.retain(|link| !link.is_closed());
        (idle.links.pop(), idle.moves)
    }

    fn give_back(&self, link: Link, moves: u64) {
        let mut idle = self.idle();
        // What is read from a server that was left may be behind what was read since.
        if idle.moves == moves {
            idle.links.push(link);
        }
    }

    fn idle(&self) -> MutexGuard<'_, Idle> {
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
        let pool = Pool::new(connector, 1, Vec::new());

        assert!(size_of_val(&pool.run("SELECT 1", &[], Ok)) < 2_048);
        assert!(size_of_val(&pool.write("SELECT 1", &[], Ok)) < 8_192);
    }
}
