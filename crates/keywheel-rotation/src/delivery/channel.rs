use async_trait::async_trait;
use keywheel_connection::{Entry, Event};
use tokio::sync::mpsc;

use super::{EventHandler, HandleError};

/// Sends each event into a channel, and waits while that is full.
///
/// An event counts as delivered once it is in the channel: what a receiver has not taken out when its
/// process ends is lost to it. Use an [`EventHandler`] of your own where that matters.
///
/// It reads the events that its version knows, and gives up on those of a later one after a few minutes: where
/// versions run side by side, `redeliver` after the upgrade.
#[derive(Clone, Debug)]
pub struct EventChannel {
    sender: mpsc::Sender<Event>,
}

impl EventChannel {
    /// Returns the adapter and the channel's other end.
    #[must_use]
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        (Self { sender }, receiver)
    }
}

#[async_trait]
impl EventHandler for EventChannel {
    async fn handle(&self, entry: &Entry) -> Result<(), HandleError> {
        let event = entry
            .event()
            .map_err(|error| HandleError::refused("the event can't be read").with_source(error))?;
        let sent = self.sender.send(event).await;
        sent.map_err(|_| HandleError::unavailable("the channel's receiver was dropped"))
    }
}
