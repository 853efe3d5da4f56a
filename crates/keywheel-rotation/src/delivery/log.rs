use async_trait::async_trait;
use keywheel_connection::Entry;

use super::{EventHandler, HandleError};

/// Writes each event as one `tracing` event at level INFO, target `keywheel::event`, with the fields
/// `connection`, `seq` and `event`: the event as JSON.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct TracingEvents;

impl TracingEvents {
    /// Returns the adapter.
    #[must_use]
    pub const fn new() -> Self {
        Self
    }
}

#[async_trait]
impl EventHandler for TracingEvents {
    async fn handle(&self, entry: &Entry) -> Result<(), HandleError> {
        let (connection, seq) = (entry.connection, entry.seq);
        tracing::info!(target: "keywheel::event", %connection, seq, event = %entry.body);
        Ok(())
    }
}
