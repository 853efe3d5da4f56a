use chrono::{DateTime, Utc};
use keywheel_core::KeyId;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer, Serialize};

use super::Offer;
use crate::read::{self, Tagged};
use crate::{Marker, Origin, Sealed, instant};

/// How far the mint of a new secret got.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(tag = "phase", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Phase {
    /// No secret is being minted.
    #[default]
    Idle,
    /// `addPassword` may have been called with this marker. Whoever reads this state did not see the
    /// answer.
    Intent {
        /// The display name of the call.
        marker: Marker,
        /// When the intent was stored.
        #[serde(serialize_with = "instant::serialize")]
        since: DateTime<Utc>,
    },
    /// The new secret is stored, and is being proven.
    Proving(Candidate),
}

impl<'de> Deserialize<'de> for Phase {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read::tagged(from)
    }
}

impl<'de> Tagged<'de> for Phase {
    const TAG: &'static str = "phase";
    type Variant = PhaseName;

    fn read<D: Deserializer<'de>>(phase: PhaseName, fields: D) -> Result<Self, D::Error> {
        Ok(match phase {
            PhaseName::Idle => {
                IgnoredAny::deserialize(fields)?;
                Self::Idle
            }
            PhaseName::Intent => {
                let Intent { marker, since } = Intent::deserialize(fields)?;
                Self::Intent { marker, since }
            }
            PhaseName::Proving => Self::Proving(Candidate::deserialize(fields)?),
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum PhaseName {
    Idle,
    Intent,
    Proving,
}

#[derive(Deserialize)]
struct Intent {
    marker: Marker,
    #[serde(with = "instant")]
    since: DateTime<Utc>,
}

/// A new secret that is not the current one yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Candidate {
    /// Its key id.
    pub key_id: KeyId,
    /// The generation that it will be.
    pub generation: u64,
    /// Where it came from.
    pub origin: Origin,
    /// The secret.
    pub sealed: Sealed,
    /// When Entra stops accepting it: what Graph answered, not what was asked for.
    #[serde(default, with = "instant::optional")]
    pub end: Option<DateTime<Utc>>,
    /// Since when it is a candidate.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// How many tokens in a row were obtained with it.
    pub proofs: u8,
    /// Whether Graph answered a read with such a token.
    pub read: bool,
    /// How many times in a row Entra refused it.
    pub refusals: u32,
    /// Since when Entra refuses it.
    #[serde(default, with = "instant::optional")]
    pub refused_since: Option<DateTime<Utc>>,
    /// The sinks that have it already.
    pub published: Vec<String>,
    /// When to try it next.
    #[serde(with = "instant")]
    pub next_at: DateTime<Utc>,
}

impl Candidate {
    /// Returns a secret that was just minted.
    #[must_use]
    pub fn minted(
        marker: Marker,
        key_id: KeyId,
        sealed: Sealed,
        end: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        let from = (marker.generation(), Origin::Minted(marker));
        Self::new(from, key_id, sealed, end, now)
    }

    /// Returns a secret that was given.
    #[must_use]
    pub fn offered(offer: &Offer, now: DateTime<Utc>) -> Self {
        let (from, sealed) = ((offer.generation, offer.origin), offer.sealed.clone());
        Self::new(from, offer.key_id, sealed, offer.end, now)
    }

    fn new(
        (generation, origin): (u64, Origin),
        key_id: KeyId,
        sealed: Sealed,
        end: Option<DateTime<Utc>>,
        now: DateTime<Utc>,
    ) -> Self {
        Self {
            key_id,
            generation,
            origin,
            sealed,
            end,
            since: now,
            proofs: 0,
            read: false,
            refusals: 0,
            refused_since: None,
            published: Vec::new(),
            next_at: now,
        }
    }
}
