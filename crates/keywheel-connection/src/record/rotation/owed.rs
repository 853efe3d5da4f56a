use chrono::{DateTime, Utc};
use keywheel_core::KeyId;
use serde::{Deserialize, Serialize};

use crate::{Marker, instant};

/// A secret that must go. It stays here until its end is confirmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Debt {
    /// Its key id.
    pub key_id: KeyId,
    /// Why it must go.
    pub reason: DebtReason,
    /// Since when that is so.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// Not before this: the end of the grace.
    #[serde(with = "instant")]
    pub due: DateTime<Utc>,
    /// How many calls did not settle it.
    pub attempts: u32,
    /// How many reads in a row did not show it, after Graph said that there is no such secret.
    pub absent_reads: u8,
    /// Whether Graph said that there is no such secret, which is to be confirmed by reads.
    pub unconfirmed: bool,
    /// When to try next.
    #[serde(with = "instant")]
    pub next_at: DateTime<Utc>,
}

impl Debt {
    /// Returns a debt that falls due at `due`.
    #[must_use]
    pub fn new(
        key_id: KeyId,
        reason: DebtReason,
        since: DateTime<Utc>,
        due: DateTime<Utc>,
    ) -> Self {
        Self {
            key_id,
            reason,
            since,
            due,
            attempts: 0,
            absent_reads: 0,
            unconfirmed: false,
            next_at: due,
        }
    }
}

/// Why a secret must go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DebtReason {
    /// Its rotation was given up.
    Aborted,
    /// Its connection is to be deleted.
    Deleted,
    /// It carries a dead marker: we minted it and nobody holds it.
    Orphan,
    /// It was minted and never accepted.
    Quarantined,
    /// Another one took its place.
    Superseded,
}

/// A secret with the connection's display name that the record does not know.
///
/// It is told of once several reads over some time agree, because a read may show for a while what was just
/// removed. It is never removed: who uses it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Stray {
    /// Its key id.
    pub key_id: KeyId,
    /// Its display name.
    pub marker: Marker,
    /// When it ends.
    #[serde(default, with = "instant::optional")]
    pub end: Option<DateTime<Utc>>,
    /// When a read first showed it.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// How many reads in a row showed it, as many as are asked for at most; those that did not are taken off.
    pub reads: u8,
    /// Whether it was told of.
    pub told: bool,
    /// When to look next.
    #[serde(with = "instant")]
    pub next_at: DateTime<Utc>,
}

impl Stray {
    /// Returns a secret that no read has shown yet.
    #[must_use]
    pub fn new(
        (key_id, marker): (KeyId, Marker),
        end: Option<DateTime<Utc>>,
        since: DateTime<Utc>,
    ) -> Self {
        Self {
            key_id,
            marker,
            end,
            since,
            reads: 0,
            told: false,
            next_at: since,
        }
    }
}

/// A marker whose call got no answer that was stored.
///
/// Reading proves presence, never absence, so absence is believed in two steps: after several reads over
/// the settle window minting may go on, and for a longer time the marker is still looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct DeadMarker {
    /// The display name of the call.
    pub marker: Marker,
    /// When the call was made, at the latest.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// Whether minting may go on.
    pub settled: bool,
    /// How many reads in a row did not show it.
    pub absent_reads: u8,
    /// When to look next.
    #[serde(with = "instant")]
    pub next_at: DateTime<Utc>,
}

impl DeadMarker {
    /// Returns a marker to be looked for at once.
    #[must_use]
    pub fn new(marker: Marker, since: DateTime<Utc>, next_at: DateTime<Utc>) -> Self {
        Self {
            marker,
            since,
            settled: false,
            absent_reads: 0,
            next_at,
        }
    }
}
