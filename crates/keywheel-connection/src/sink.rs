use std::error::Error;
use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_core::{KeyId, Secret};
use thiserror::Error;

use crate::Connection;

/// Takes new secrets to somebody else who uses them: a vault, a file, a deployment.
///
/// # Contract
///
/// * **Repeatable.** The same secret may be published again, after a crash or an answer that was lost.
/// * **In order.** What is published later counts, whatever its generation: when a rotation is given up
///   after a sink was told, the sink gets the secret in use again. A process that was suspended in the
///   middle of a call may finish it after others went on. So keep the connection's id and
///   [`NewSecret::order`] with the secret where that is possible, and leave out what is older than what is
///   held. Say so by an error: after the store was restored from a backup its orders begin further back, and
///   somebody must hear that the sink takes none of them.
/// * On `Err` the sink holds either the secret that it held or the new one. Both are valid then: a
///   rotation that has not promoted keeps its candidate, and the replaced one stays for its grace.
/// * The secret never reaches a log, an error or `Debug`.
#[async_trait]
pub trait SecretSink: Debug + Send + Sync {
    /// Returns the name of the sink, by which the record knows what it has. Keep it.
    fn name(&self) -> &str;

    /// Tells whether the sink takes the secrets of this connection. By default it takes everyone's.
    ///
    /// What it does not want it is not given, and the connection's record and journal do not speak of it.
    /// It is asked before every step: answer at once, and by what the connection is (its namespace, name,
    /// tenant, client id), not by how it is.
    fn wants(&self, connection: &Connection) -> bool {
        let _ = connection;
        true
    }

    /// Puts `new` in the place of what the sink held before.
    ///
    /// # Errors
    ///
    /// Returns an error when the sink may not have it. It is tried again.
    async fn publish(&self, new: &NewSecret<'_>) -> Result<(), SinkError>;
}

#[async_trait]
impl<T: SecretSink + ?Sized> SecretSink for Arc<T> {
    fn name(&self) -> &str {
        (**self).name()
    }

    fn wants(&self, connection: &Connection) -> bool {
        (**self).wants(connection)
    }

    async fn publish(&self, new: &NewSecret<'_>) -> Result<(), SinkError> {
        (**self).publish(new).await
    }
}

/// A secret for a sink.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct NewSecret<'a> {
    /// The connection: its name, tenant and client id.
    pub connection: &'a Connection,
    /// The generation of the secret.
    pub generation: u64,
    /// Its key id.
    pub key_id: Option<KeyId>,
    /// When it ends, if known.
    pub end: Option<DateTime<Utc>>,
    /// The secret.
    pub secret: Secret,
}

impl<'a> NewSecret<'a> {
    /// Returns a secret for a sink.
    #[must_use]
    pub fn new(
        connection: &'a Connection,
        generation: u64,
        (key_id, end): (Option<KeyId>, Option<DateTime<Utc>>),
        secret: Secret,
    ) -> Self {
        Self {
            connection,
            generation,
            key_id,
            end,
            secret,
        }
    }

    /// Returns a number that grows with every change of the connection, and so with everything that is
    /// published of it.
    #[must_use]
    pub fn order(&self) -> u64 {
        self.connection.journal.seq
    }
}

/// A sink may not have the secret.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct SinkError {
    message: String,
    source: Option<Box<dyn Error + Send + Sync>>,
}

impl SinkError {
    /// Returns an error that says `message`: one line that ends in what to do next, without the secret.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            source: None,
        }
    }

    /// Keeps what caused the error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}
