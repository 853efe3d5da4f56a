mod channel;
mod log;
mod runner;
mod webhook;
mod window;

use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keywheel_connection::{DeadLetter, Entry};
use thiserror::Error;

pub use self::channel::EventChannel;
pub use self::log::TracingEvents;
pub use self::runner::{DeliveryOptions, DeliveryWaker, EventDelivery};
pub use self::webhook::{InvalidWebhook, InvalidWebhookKey, Webhook, WebhookKey};

/// Takes events to where somebody wants them.
///
/// # Contract
///
/// * Of one connection, events come one after the other and in order; those of several at once.
/// * `Ok` means that the event has arrived. What has not been acknowledged comes again, after a crash or
///   a lost answer: **at least once**. `connection` and `seq` of an [`Entry`] tell whether it came before.
/// * A dropped future equals an error.
#[async_trait]
pub trait EventHandler: Debug + Send + Sync {
    /// Takes one event.
    ///
    /// # Errors
    ///
    /// Returns an error when it may not have arrived, with what to do about it.
    async fn handle(&self, entry: &Entry) -> Result<(), HandleError>;

    /// Hears of an event that was given up. By default nothing more happens than what
    /// [`EventDelivery`] does: it logs it, and keeps it where it was told to.
    async fn given_up(&self, dead: &DeadLetter) {
        let _ = dead;
    }
}

#[async_trait]
impl<T: EventHandler + ?Sized> EventHandler for Arc<T> {
    async fn handle(&self, entry: &Entry) -> Result<(), HandleError> {
        (**self).handle(entry).await
    }

    async fn given_up(&self, dead: &DeadLetter) {
        (**self).given_up(dead).await;
    }
}

/// An event may not have arrived.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct HandleError {
    message: String,
    refused: bool,
    retry_after: Option<Duration>,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl HandleError {
    /// Returns an error that passes by itself: nobody answered, or was too busy.
    #[must_use]
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            refused: false,
            retry_after: None,
            source: None,
        }
    }

    /// Returns an error about this one event: whoever got it does not want it.
    #[must_use]
    pub fn refused(message: impl Into<String>) -> Self {
        Self {
            refused: true,
            ..Self::unavailable(message)
        }
    }

    /// Waits for at least this long before the next attempt, up to the longest wait of the
    /// [delivery](DeliveryOptions::retry).
    #[must_use]
    pub fn retry_after(mut self, wait: Option<Duration>) -> Self {
        self.retry_after = wait;
        self
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Tells whether it is about this one event.
    #[must_use]
    pub fn is_refused(&self) -> bool {
        self.refused
    }
}
