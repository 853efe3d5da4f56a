use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::database::Database;
use crate::link::Connector;

/// A task that passes hints on. It ends with this value.
#[derive(Debug)]
pub(crate) struct Listener(JoinHandle<()>);

impl Listener {
    pub(crate) fn start(database: &Arc<Database>, connector: Connector, channel: String) -> Self {
        let database = database.clone();
        Self(tokio::spawn(async move {
            loop {
                let ended = connector
                    .listen(&channel, || database.due.notify_one())
                    .await;
                // Polling is what counts; nobody is to be troubled with this.
                tracing::debug!(error = ?ended.err(), "store.listener.ended");
                sleep(PAUSE).await;
            }
        }))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Between two tries to connect: about as long as a poll.
const PAUSE: Duration = Duration::from_secs(5);
