use chrono::{DateTime, Utc};
use keywheel_core::KeyId;
use serde::{Deserialize, Deserializer, Serialize};

use super::{HeldCertificate, SignIn};
use crate::read::{self, Tagged};
use crate::{Candidate, ConnectionId, Marker, Sealed, instant};

/// What a connection authenticates with.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "method", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Credential {
    /// The consent of a user who signed in by the authorization code flow.
    AuthorizationCode(SignIn),
    /// A certificate.
    Certificate(HeldCertificate),
    /// A client secret, and during grace the one before it.
    ClientSecret(Secrets),
    /// The client secrets of another application, which this one authenticates nothing with: they are
    /// minted and removed through the connection `via`.
    Managed {
        /// The connection whose application may write to this one.
        via: ConnectionId,
        /// The secrets.
        secrets: Secrets,
    },
}

impl Credential {
    /// Returns the name of the method, as in `client-secret`.
    #[must_use]
    pub fn method(&self) -> &'static str {
        match self {
            Self::AuthorizationCode(_) => "authorization-code",
            Self::Certificate(_) => "certificate",
            Self::ClientSecret(_) => "client-secret",
            Self::Managed { .. } => "managed",
        }
    }

    /// Returns the client secrets, or `None` for another kind of credential.
    #[must_use]
    pub fn secrets(&self) -> Option<&Secrets> {
        match self {
            Self::ClientSecret(secrets) | Self::Managed { secrets, .. } => Some(secrets),
            Self::AuthorizationCode(_) | Self::Certificate(_) => None,
        }
    }

    /// Returns the client secrets, to be changed.
    pub fn secrets_mut(&mut self) -> Option<&mut Secrets> {
        match self {
            Self::ClientSecret(secrets) | Self::Managed { secrets, .. } => Some(secrets),
            Self::AuthorizationCode(_) | Self::Certificate(_) => None,
        }
    }

    /// Returns the connection that this one authenticates through, if it is not itself.
    #[must_use]
    pub fn via(&self) -> Option<ConnectionId> {
        match self {
            Self::AuthorizationCode(_) | Self::Certificate(_) | Self::ClientSecret(_) => None,
            Self::Managed { via, .. } => Some(*via),
        }
    }
}

impl<'de> Deserialize<'de> for Credential {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read::tagged(from)
    }
}

impl<'de> Tagged<'de> for Credential {
    const TAG: &'static str = "method";
    type Variant = Method;

    fn read<D: Deserializer<'de>>(method: Method, fields: D) -> Result<Self, D::Error> {
        Ok(match method {
            Method::AuthorizationCode => Self::AuthorizationCode(SignIn::deserialize(fields)?),
            Method::Certificate => Self::Certificate(HeldCertificate::deserialize(fields)?),
            Method::ClientSecret => Self::ClientSecret(Secrets::deserialize(fields)?),
            Method::Managed => {
                let Managed { via, secrets } = Managed::deserialize(fields)?;
                Self::Managed { via, secrets }
            }
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Method {
    AuthorizationCode,
    Certificate,
    ClientSecret,
    Managed,
}

#[derive(Deserialize)]
struct Managed {
    via: ConnectionId,
    secrets: Secrets,
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
    #[serde(default, with = "instant::optional")]
    pub end: Option<DateTime<Utc>>,
    /// Since when it is the current one.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// Since when Entra refuses it although it was proven: somebody removed it, or its end was brought
    /// forward.
    #[serde(default, with = "instant::optional")]
    pub refused_since: Option<DateTime<Utc>>,
    /// The last warning of its end that was given: how many days before.
    pub reminded: Option<u16>,
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
            refused_since: None,
            reminded: None,
            origin: Origin::Given,
        }
    }

    /// Returns what stands for the secret of an application that was just taken on: none yet. `sealed` is
    /// an empty text.
    #[must_use]
    pub fn none_yet(sealed: Sealed, since: DateTime<Utc>) -> Self {
        Self {
            origin: Origin::NoneYet,
            ..Self::given(sealed, None, since)
        }
    }

    /// Returns a candidate that became the current secret.
    #[must_use]
    pub fn promoted(candidate: &Candidate, since: DateTime<Utc>) -> Self {
        Self {
            generation: candidate.generation,
            sealed: candidate.sealed.clone(),
            key_id: Some(candidate.key_id),
            end: candidate.end,
            since,
            refused_since: None,
            reminded: None,
            origin: candidate.origin,
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
    /// There is none yet: the first one is about to be minted.
    NoneYet,
}
