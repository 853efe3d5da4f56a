use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, Utc};
use keywheel_core::{ClientId, KeyId, TenantId};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

use crate::read;
use crate::record::json;
use crate::{
    Cause, Connection, ConnectionId, ConnectionName, DebtReason, Marker, RotationId, Trouble,
    instant,
};

/// Something that happened to a connection.
///
/// As JSON it is one flat object: `event`, `connection`, `name`, `seq`, `at`, `actor`, and what belongs
/// to the kind. It never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// What happened.
    #[serde(flatten)]
    pub kind: EventKind,
    /// The connection.
    pub connection: ConnectionId,
    /// Its name at the time.
    pub name: ConnectionName,
    /// Counts the events of the connection, from 1 and without gaps.
    pub seq: u64,
    /// When it happened.
    #[serde(with = "instant")]
    pub at: DateTime<Utc>,
    /// Who did it.
    pub actor: Actor,
}

/// Who did something: the engine, or a person in the embedder's words.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Actor(Cow<'static, str>);

impl Actor {
    /// Returns the rotation engine.
    #[must_use]
    pub fn engine() -> Self {
        Self(Cow::Borrowed("engine"))
    }

    /// Returns somebody, in the embedder's words.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self(Cow::Owned(name.into()))
    }
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What happened to a connection.
///
/// Two kinds of saves have no event. A refresh token that follows another comes with an access token, up to
/// once an hour: nobody decided anything, and what it stands for, the sign-in, has one of its own; the
/// record's [`generation`](crate::SignIn::generation) counts them. And what only moves a rotation's clock,
/// such as the time of its next attempt or the lease, changes nothing that anybody could look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum EventKind {
    /// The connection was stored for the first time.
    #[serde(rename = "connection.created")]
    ConnectionCreated {
        /// The customer's tenant.
        tenant: TenantId,
        /// The application.
        client_id: ClientId,
        /// How it authenticates.
        method: String,
    },
    /// A user signed in again.
    #[serde(rename = "connection.signed-in")]
    SignedIn {
        /// Who.
        user: String,
    },
    /// The sign-in has ended: the connection gives no tokens until a user signs in again.
    #[serde(rename = "connection.needs-reauth")]
    NeedsReauth {
        /// Why, and what to do.
        reason: String,
    },
    /// The connection was given another certificate.
    #[serde(rename = "connection.certificate-replaced")]
    CertificateReplaced {
        /// Its thumbprint, as the portal shows it.
        thumbprint: String,
        /// When it ends.
        #[serde(with = "instant")]
        end: DateTime<Utc>,
    },
    /// Somebody asked for a rotation.
    #[serde(rename = "rotation.requested")]
    RotationRequested {
        /// The rotation that it will be.
        rotation: RotationId,
        /// Why.
        cause: Cause,
    },
    /// A new secret is about to be minted.
    #[serde(rename = "rotation.intent")]
    Intent {
        /// The rotation.
        rotation: RotationId,
        /// Why it runs.
        cause: Cause,
        /// The generation that the new secret will be.
        generation: u64,
        /// The display name that the new secret will carry.
        marker: Marker,
    },
    /// A new secret was minted and stored.
    #[serde(rename = "rotation.minted")]
    Minted {
        /// The rotation.
        rotation: RotationId,
        /// The generation of the new secret.
        generation: u64,
        /// The new secret.
        key_id: KeyId,
        /// When it ends.
        #[serde(default, with = "instant::optional")]
        end: Option<DateTime<Utc>>,
    },
    /// It is not known whether a secret was minted. Reading will tell.
    #[serde(rename = "rotation.unresolved")]
    Unresolved {
        /// The display name to look for.
        marker: Marker,
        /// No other secret is minted before then, unless it is found.
        #[serde(with = "instant")]
        settle_until: DateTime<Utc>,
    },
    /// A token was obtained with the new secret.
    #[serde(rename = "rotation.proved")]
    Proved {
        /// The rotation.
        rotation: RotationId,
        /// The generation of the new secret.
        generation: u64,
        /// The new secret.
        key_id: KeyId,
        /// How many in a row.
        proofs: u8,
        /// How many are wanted.
        wanted: u8,
    },
    /// The new secret is not accepted yet.
    #[serde(rename = "rotation.refused")]
    ProofRefused {
        /// The generation of the new secret.
        generation: u64,
        /// The new secret.
        key_id: KeyId,
        /// How many times in a row.
        refusals: u32,
        /// When it is tried again.
        #[serde(with = "instant")]
        retry_at: DateTime<Utc>,
    },
    /// The new secret was never accepted. It will be removed, and another one minted.
    #[serde(rename = "rotation.quarantined")]
    Quarantined {
        /// The generation that it was meant to be.
        generation: u64,
        /// The secret.
        key_id: KeyId,
    },
    /// The new secret is the current one.
    #[serde(rename = "rotation.promoted")]
    Promoted {
        /// The rotation.
        rotation: RotationId,
        /// The generation of the new secret.
        generation: u64,
        /// The new secret.
        key_id: KeyId,
        /// The one that it replaced.
        previous_key_id: Option<KeyId>,
        /// When the replaced one is to be revoked.
        #[serde(with = "instant")]
        revoke_at: DateTime<Utc>,
    },
    /// A secret is gone: the directory said so, or several reads agree.
    #[serde(rename = "secret.revoked")]
    Revoked {
        /// The secret.
        key_id: KeyId,
        /// Why it had to go.
        reason: DebtReason,
        /// Whether reads had to confirm it.
        confirmed_by_reads: bool,
    },
    /// A secret that nobody holds was found. It will be removed.
    #[serde(rename = "secret.orphan_found")]
    OrphanFound {
        /// The secret.
        key_id: KeyId,
        /// Its display name.
        marker: Marker,
    },
    /// The replaced secret is gone, and the rotation is over.
    #[serde(rename = "rotation.confirmed")]
    Confirmed {
        /// The rotation.
        rotation: RotationId,
        /// The generation of the current secret.
        generation: u64,
        /// The current secret.
        key_id: Option<KeyId>,
        /// When the next one is due.
        #[serde(default, with = "instant::optional")]
        next: Option<DateTime<Utc>>,
    },
    /// A step failed.
    #[serde(rename = "rotation.failed")]
    Failed {
        /// Which step, what happened, what to do, and when it is tried again.
        #[serde(flatten)]
        trouble: Trouble,
    },
    /// A secret was given, to be proven and used.
    #[serde(rename = "rotation.offered")]
    Offered {
        /// The rotation that it will be.
        rotation: RotationId,
        /// Why.
        cause: Cause,
        /// The generation that it will be.
        generation: u64,
        /// The secret.
        key_id: KeyId,
    },
    /// The rotation was given up.
    #[serde(rename = "rotation.aborted")]
    Aborted {
        /// The rotation.
        rotation: RotationId,
        /// The secret that was given up, if there was one.
        key_id: Option<KeyId>,
    },
    /// Another rotation began before this one was confirmed: its secret was taken back, replaced by one
    /// that was given, or refused. The secrets that it leaves are revoked with those of the other one.
    #[serde(rename = "rotation.overtaken")]
    Overtaken {
        /// The rotation that ends here.
        rotation: RotationId,
        /// The one that goes on.
        by: RotationId,
    },
    /// A sink has the new secret.
    #[serde(rename = "sink.published")]
    Published {
        /// The sink.
        sink: String,
        /// The generation of the secret.
        generation: u64,
        /// The secret.
        key_id: Option<KeyId>,
    },
    /// The current secret ends soon, and nothing is about to replace it.
    #[serde(rename = "secret.expiring")]
    Expiring {
        /// The secret.
        key_id: Option<KeyId>,
        /// When it ends.
        #[serde(with = "instant")]
        end: DateTime<Utc>,
        /// In how many days, at most: 60, 30, 14, 7, 3 or 1.
        days: u16,
    },
    /// The connection is to be deleted, and the secrets that we minted with it.
    #[serde(rename = "connection.farewell")]
    Farewell {
        /// Whether the secrets that we minted are revoked before.
        revoke: bool,
    },
    /// The connection was deleted.
    #[serde(rename = "connection.deleted")]
    ConnectionDeleted {
        /// Secrets of ours that may live on.
        left: Vec<KeyId>,
        /// The display names of secrets of ours that there may be, and that could not be looked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unresolved: Vec<Marker>,
    },
    /// The connection was given another credential.
    #[serde(rename = "connection.reenrolled")]
    Reenrolled {
        /// The application that it now authenticates as.
        client_id: ClientId,
        /// Secrets of ours that may live on, on the application before.
        left: Vec<KeyId>,
        /// The display names of secrets of ours that there may be on the application before, and that
        /// were not looked for to the end.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unresolved: Vec<Marker>,
    },
    /// The rotation's settings or switches were changed.
    #[serde(rename = "rotation.changed")]
    Changed {
        /// What was changed, as in `schedule`.
        what: String,
    },
}

/// Hears of journal entries as they are committed.
///
/// # Contract
///
/// * Called after the commit, in the order of the commits of one process. What happens in other
///   processes, and what was committed just before a process died, is not heard here: read
///   [`entries`](crate::ConnectionStore::entries) by cursor for that.
/// * It returns soon and never fails: a rotation does not wait for who watches it.
pub trait EventSink: fmt::Debug + Send + Sync {
    /// Takes what was just committed.
    fn committed(&self, entries: &[Entry]);
}

/// Where a connection's journal stands: how many entries it has and the digest of the last one.
///
/// It is stored with the connection, so that entries cut off from the end are missed too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JournalHead {
    /// The number of entries.
    pub seq: u64,
    /// The digest of the last entry; zero before the first.
    pub digest: Digest,
}

/// One entry of a connection's journal: an event as the text that is stored, chained to the one before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Entry {
    /// The connection.
    pub connection: ConnectionId,
    /// Counts the entries of the connection, from 1 and without gaps.
    pub seq: u64,
    /// The event as JSON.
    pub body: String,
    /// SHA-256 of the digest before and the body.
    pub digest: Digest,
}

impl Entry {
    /// Returns an entry as it was stored.
    #[must_use]
    pub fn stored(connection: ConnectionId, seq: u64, body: String, digest: Digest) -> Self {
        Self {
            connection,
            seq,
            body,
            digest,
        }
    }

    /// Reads the event.
    ///
    /// # Errors
    ///
    /// Returns an error when the text was damaged or is of a kind that a newer version writes.
    pub fn event(&self) -> Result<Event, UnreadableEvent> {
        serde_json::from_str(&self.body).map_err(|_| UnreadableEvent { seq: self.seq })
    }
}

impl Connection {
    /// Adds an event to the connection's journal, and returns the entry to be saved with it.
    pub fn record(&mut self, actor: &Actor, at: DateTime<Utc>, kind: EventKind) -> Entry {
        let seq = self.journal.seq + 1;
        let event = Event {
            kind,
            connection: self.id,
            name: self.name.clone(),
            seq,
            at,
            actor: actor.clone(),
        };
        let body = json(&event);
        let digest = self.journal.digest.then(&body);
        self.journal = JournalHead { seq, digest };
        Entry {
            connection: self.id,
            seq,
            body,
            digest,
        }
    }
}

/// Checks that `entries` are a connection's whole journal: nothing changed, missing or out of order.
///
/// # Errors
///
/// Returns the number of the first entry that is not as it was written.
pub fn verify_journal<'a>(
    entries: impl IntoIterator<Item = &'a Entry>,
    head: &JournalHead,
) -> Result<(), BrokenJournal> {
    let mut at = JournalHead::default();
    for entry in entries {
        let seq = at.seq + 1;
        let digest = at.digest.then(&entry.body);
        if entry.seq != seq || entry.digest != digest {
            return Err(BrokenJournal { seq });
        }
        at = JournalHead { seq, digest };
    }
    if at == *head {
        Ok(())
    } else {
        Err(BrokenJournal { seq: at.seq + 1 })
    }
}

/// A journal is not as it was written.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "journal: entry {seq} was changed, removed or moved; compare with a backup and find who had access"
)]
pub struct BrokenJournal {
    seq: u64,
}

impl BrokenJournal {
    /// Returns the number of the first entry that is wrong.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }
}

/// An entry holds no event that this version can read.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("journal: entry {seq} is damaged or was written by a newer keywheel")]
pub struct UnreadableEvent {
    seq: u64,
}

/// A SHA-256 digest.
#[derive(Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest as bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn then(&self, body: &str) -> Self {
        let mut chained = Context::new(&SHA256);
        chained.update(&self.0);
        chained.update(body.as_bytes());
        Self(
            chained
                .finish()
                .as_ref()
                .try_into()
                .expect("SHA-256 gives 32 bytes"),
        )
    }
}

impl From<[u8; 32]> for Digest {
    fn from(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (high, low) = self.0.split_at(16);
        let half = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().expect("16 of 32 bytes"));
        write!(f, "{:032x}{:032x}", half(high), half(low))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.to_string()
    }
}

impl FromStr for Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
        let parse = || {
            let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
                return None;
            };
            let pairs: &[[u8; 2]; 32] = pairs.try_into().ok()?;
            let mut bytes = [0; 32];
            for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
                *byte = digit(*high)? << 4 | digit(*low)?;
            }
            Some(Self(bytes))
        };
        parse().ok_or("expected 64 hex digits")
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read::text(from)
    }
}
