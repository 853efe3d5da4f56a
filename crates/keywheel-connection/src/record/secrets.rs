use chrono::{DateTime, Utc};
use keywheel_core::KeyId;
use serde::{Deserialize, Serialize};

use crate::{Candidate, Marker, Sealed};

/// What a connection authenticates with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Credential {
    /// A client secret, and during grace the one before it.
    ClientSecret(Secrets),
}

impl Credential {
    /// Returns the name of the method, as in `client-secret`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::ClientSecret(_) => "client-secret",
        }
    }
}

/// The client secrets that a connection holds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Secrets {
    /// The one in use.
    pub current: Held,
    /// The one before, until it is revoked: what readers fall back to when Entra refuses the current
    /// one for a moment.
    pub previous: Option<Held>,
}

impl Secrets {
    /// Returns the secrets of a connection that has only this one.
    #[must_use]
    pub fn new(current: Held) -> Self {
        Self {
            current,
            previous: None,
        }
    }
}

/// A client secret that we hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Held {
    /// Counts the secrets that the connection has had; the one it was created with is 0.
    pub generation: u64,
    /// The secret.
    pub sealed: Sealed,
    /// The key id. `None` when the user did not give it and it was not needed.
    pub key_id: Option<KeyId>,
    /// When Entra stops accepting it, if known.
    pub end: Option<DateTime<Utc>>,
    /// Since when it is the current one.
    pub since: DateTime<Utc>,
    /// Where it came from.
    pub origin: Origin,
}

impl Held {
    /// Returns the secret that a connection is created with.
    #[must_use]
    pub fn given(sealed: Sealed, key_id: Option<KeyId>, since: DateTime<Utc>) -> Self {
        Self {
            generation: 0,
            sealed,
            key_id,
            end: None,
            since,
            origin: Origin::Given,
        }
    }

    /// Returns a candidate that became the current secret.
    #[must_use]
    pub fn promoted(candidate: &Candidate, since: DateTime<Utc>) -> Self {
        Self {
            generation: candidate.marker.generation(),
            sealed: candidate.sealed.clone(),
            key_id: Some(candidate.key_id),
            end: candidate.end,
            since,
            origin: Origin::Minted(candidate.marker),
        }
    }
}

/// Where a secret came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Origin {
    /// The user gave it.
    Given,
    /// We minted it, under this marker.
    Minted(Marker),
}
