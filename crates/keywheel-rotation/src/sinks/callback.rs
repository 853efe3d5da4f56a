use std::fmt;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keywheel_connection::{Connection, NewSecret, SecretSink, SinkError};
use keywheel_core::{KeyId, Secret};

/// Gives each new secret to a function of yours.
///
/// ```
/// use keywheel_connection::SinkError;
/// use keywheel_rotation::CallbackSink;
///
/// let sink = CallbackSink::new("vault", async |new| {
///     let name = new.connection.name.as_str();
///     store_in_vault(name, new.secret.expose())
///         .map_err(|error| SinkError::new("the vault did not take it").with_source(error))
/// });
/// # fn store_in_vault(_: &str, _: &str) -> Result<(), std::io::Error> { Ok(()) }
/// # let _ = sink;
/// ```
pub struct CallbackSink {
    name: String,
    callback: Callback,
}

type Callback = Box<dyn Fn(OwnedSecret) -> BoxFuture<'static, Result<(), SinkError>> + Send + Sync>;

/// A secret for a function.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OwnedSecret {
    /// The connection: its name, tenant and client id.
    pub connection: Connection,
    /// The generation of the secret.
    pub generation: u64,
    /// Its key id.
    pub key_id: Option<KeyId>,
    /// When it ends, if known.
    pub end: Option<DateTime<Utc>>,
    /// The secret.
    pub secret: Secret,
}

impl CallbackSink {
    /// Returns a sink that calls `callback`, which keeps the contract of [`SecretSink`].
    #[must_use]
    pub fn new<F>(
        name: impl Into<String>,
        callback: impl Fn(OwnedSecret) -> F + Send + Sync + 'static,
    ) -> Self
    where
        F: Future<Output = Result<(), SinkError>> + Send + 'static,
    {
        Self {
            name: name.into(),
            callback: Box::new(move |new| callback(new).boxed()),
        }
    }
}

#[async_trait]
impl SecretSink for CallbackSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, new: &NewSecret<'_>) -> Result<(), SinkError> {
        let owned = OwnedSecret {
            connection: new.connection.clone(),
            generation: new.generation,
            key_id: new.key_id,
            end: new.end,
            secret: new.secret.clone(),
        };
        (self.callback)(owned).await
    }
}

impl fmt::Debug for CallbackSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackSink")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
