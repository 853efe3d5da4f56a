use chrono::{DateTime, Utc};
use keywheel_connection::{ConnectionId, Origin};
use keywheel_core::{KeyId, Secret};

use super::{ConnectionError, Connections, Result};
use crate::authority::open_both;

/// The secrets of a connection that work, for an embedder that hands them on.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LiveSecrets {
    /// The generation of the current secret.
    pub generation: u64,
    /// The current secret's key id.
    pub key_id: Option<KeyId>,
    /// When the current secret ends, if known.
    pub end: Option<DateTime<Utc>>,
    /// The current secret.
    pub current: Secret,
    /// The one before, until it is revoked; `None` too where it can't be opened any more.
    pub previous: Option<Secret>,
}

impl Connections {
    /// Opens the current secret of a connection, and the one before while that is valid.
    ///
    /// For secrets of other applications, and for whoever must hand a secret on. To obtain tokens, use the
    /// connection's credential instead: it follows rotations by itself.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no secret yet, when the current secret can't be
    /// opened, or when the store fails.
    pub async fn secrets(&self, id: ConnectionId) -> Result<LiveSecrets> {
        let connection = self.load(id).await?.connection;
        let secrets = connection.secrets();
        let Some(secrets) = secrets.filter(|s| s.current.origin != Origin::NoneYet) else {
            return Err(ConnectionError::state(
                "the connection has no client secret yet; its first one is being minted",
            ));
        };
        let (current, previous) = open_both(&self.parts, &connection, secrets).await?;
        Ok(LiveSecrets {
            generation: secrets.current.generation,
            key_id: secrets.current.key_id,
            end: secrets.current.end,
            current,
            previous,
        })
    }
}
