use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use crate::database::Database;

/// Looks for leases of the future when there may be some: on the first claim of a process, and when the server's
/// clock was set back. A look that can't be made is made again, ever more seldom.
pub(crate) async fn look(database: Arc<Database>) {
    loop {
        database.stepped.notified().await;
        let mut pause = SHORTEST;
        while let Err(fault) = database.end_leases().await {
            tracing::warn!(error = ?fault, "store.look.failed");
            sleep(pause).await;
            pause = LONGEST.min(pause * 2);
        }
    }
}

/// Between the first two tries.
const SHORTEST: Duration = Duration::from_secs(1);

/// Between two tries.
const LONGEST: Duration = Duration::from_mins(1);
