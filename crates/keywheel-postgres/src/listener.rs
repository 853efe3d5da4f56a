use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::database::Database;
use crate::link::Connector;

/// Passes hints on.
pub(crate) async fn listen(database: Arc<Database>, connector: Connector, channel: String) {
    loop {
        let ended = connector
            .listen(&channel, || database.due.notify_one())
            .await;
        // Polling is what counts; nobody is to be troubled with this.
        tracing::debug!(error = ?ended.err(), "store.listener.ended");
        sleep(PAUSE).await;
    }
}

/// Between two tries to connect: about as long as a poll.
const PAUSE: Duration = Duration::from_secs(5);
