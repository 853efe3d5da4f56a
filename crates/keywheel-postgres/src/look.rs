use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::database::Database;

/// Looks for leases of the future when there may be some: on the first claim of a process, and when the server's
/// clock was set back.
pub(crate) async fn look(database: Arc<Database>) {
    loop {
        database.stepped.notified().await;
        while let Err(fault) = database.end_leases().await {
            tracing::debug!(error = ?fault, "store.look.failed");
            sleep(PAUSE).await;
        }
    }
}

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(1);
