mod methods;
mod rotation;
mod secrets;

use chrono::{DateTime, Utc};
use keywheel_core::{ApplicationObjectId, ClientId, Cloud, TenantId};
use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use self::methods::{HeldCertificate, SignIn, SignInEnded};
pub use self::rotation::{
    Candidate, Cause, Completed, DeadMarker, Debt, DebtReason, Delivery, Mode, Offer, Pause, Phase,
    Rotation, RotationRequest, RotationSettings, Run, Seconds, Stray, Trouble, TroubleKind,
};
pub use self::secrets::{Credential, Held, Origin, Secrets};
use crate::{ConnectionId, ConnectionName, JournalHead, Namespace, SealContext, instant};

/// A stored way into one tenant, and the state of its rotation: the unit of every save.
///
/// It is plain data. What may happen next is decided by the rotation engine, what is at rest here is
/// sealed, and nothing in it needs to be hidden but the [`Sealed`](crate::Sealed) values' contents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Connection {
    /// The connection, for as long as it lives.
    pub id: ConnectionId,
    /// The tenant of the embedding backend that it belongs to.
    pub namespace: Namespace,
    /// Its name, unique in the namespace.
    pub name: ConnectionName,
    /// Which cloud the tenant is in.
    pub cloud: Cloud,
    /// The customer's tenant.
    pub tenant: TenantId,
    /// The application (client) id.
    pub client: ClientId,
    /// The object id of the application, once it has been read. Another one under the same client id
    /// means that the application was deleted and made again.
    pub application: Option<ApplicationObjectId>,
    /// When the connection was created.
    #[serde(with = "instant")]
    pub created_at: DateTime<Utc>,
    /// What it authenticates with.
    pub credential: Credential,
    /// Its rotation, if it was ever enabled.
    pub rotation: Option<Rotation>,
    /// Where its journal stands.
    pub journal: JournalHead,
}

impl Connection {
    /// Returns a connection that has never been saved.
    #[must_use]
    pub fn new(
        id: ConnectionId,
        name: ConnectionName,
        (tenant, client): (TenantId, ClientId),
        credential: Credential,
        created_at: DateTime<Utc>,
    ) -> Self {
        Self {
            id,
            namespace: Namespace::default(),
            name,
            cloud: Cloud::default(),
            tenant,
            client,
            application: None,
            created_at,
            credential,
            rotation: None,
            journal: JournalHead::default(),
        }
    }

    /// Returns what the client secret of `generation` is sealed for.
    #[must_use]
    pub fn seal_context(&self, generation: u64) -> SealContext<'_> {
        SealContext {
            namespace: &self.namespace,
            connection: self.id,
            field: "client-secret",
            generation,
        }
    }

    /// Returns what the files of a certificate are sealed for.
    #[must_use]
    pub fn certificate_context(&self) -> SealContext<'_> {
        SealContext::certificate(&self.namespace, self.id)
    }

    /// Returns what the refresh token of `generation` is sealed for.
    #[must_use]
    pub fn refresh_token_context(&self, generation: u64) -> SealContext<'_> {
        SealContext::refresh_token(&self.namespace, self.id, generation)
    }

    /// Returns the client secrets, or `None` for another kind of credential.
    #[must_use]
    pub fn secrets(&self) -> Option<&Secrets> {
        self.credential.secrets()
    }

    /// Returns the text that a store keeps.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = json(self);
        text.replace_range(..1, BEGINNING);
        text
    }

    /// Reads what [`encode`](Self::encode) wrote, now or in an earlier version.
    ///
    /// # Errors
    ///
    /// Returns an error when the text was damaged, or written by a newer version.
    pub fn decode(text: &str) -> Result<Self, DecodeError> {
        // Nearly all that is read begins like what is written, and needs no second look.
        if !text.starts_with(BEGINNING) {
            check_format(text)?;
        }
        // The text of serde_json's error may repeat what it read.
        serde_json::from_str(text).map_err(|error| DecodeError::Damaged {
            line: error.line(),
            column: error.column(),
        })
    }
}

/// Room for nearly every journal entry.
const ROOM: usize = 512;

/// Writes one of our own types, none of which can fail.
pub(crate) fn json(value: &impl Serialize) -> String {
    let mut text = Vec::with_capacity(ROOM);
    serde_json::to_writer(&mut text, value).expect("our types have only text keys");
    String::from_utf8(text).expect("JSON is text")
}

fn check_format(text: &str) -> Result<(), DecodeError> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    match serde_json::from_str(text) {
        Ok(Format { format }) if format > FORMAT => Err(DecodeError::Newer { format }),
        Ok(_) => Ok(()),
        Err(_) => Err(DecodeError::Damaged { line: 0, column: 0 }),
    }
}

/// The format that this version writes. Raise it when an older version would misread the record.
const FORMAT: u32 = 1;

/// How every record of this format begins.
const BEGINNING: &str = "{\"format\":1,";

/// A stored record can't be read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum DecodeError {
    /// The record was damaged, or is not one of ours. Restore it from a backup.
    #[error("connection record: damaged at line {line}, column {column}; restore it from a backup")]
    Damaged {
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
    },
    /// A newer version of keywheel wrote the record. Upgrade.
    #[error(
        "connection record: format {format} was written by a newer keywheel; upgrade this program"
    )]
    Newer {
        /// The format that was found.
        format: u32,
    },
}
