mod kind;

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use aws_lc_rs::digest::{Context, SHA256};
use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize};
use thiserror::Error;

pub use self::kind::EventKind;
use crate::read;
use crate::record::json;
use crate::{Connection, ConnectionId, ConnectionName, instant};

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
