use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::{Sealed, instant};

/// A certificate with its private key, which a connection authenticates with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct HeldCertificate {
    /// The files that the user gave, and their password.
    pub sealed: Sealed,
    /// The SHA-1 thumbprint in upper-case hexadecimal digits, as the portal shows it.
    pub thumbprint: String,
    /// When the certificate ends.
    #[serde(with = "instant")]
    pub end: DateTime<Utc>,
    /// Since when the connection has it.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
}

impl HeldCertificate {
    /// Returns a certificate that a connection holds from now on.
    #[must_use]
    pub fn new(
        sealed: Sealed,
        thumbprint: impl Into<String>,
        end: DateTime<Utc>,
        since: DateTime<Utc>,
    ) -> Self {
        Self {
            sealed,
            thumbprint: thumbprint.into(),
            end,
            since,
        }
    }
}

/// The consent of a user who signed in: what tokens on the user's behalf are got by.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignIn {
    /// The refresh token.
    pub sealed: Sealed,
    /// Counts the refresh tokens that the connection has had; the first one is 0.
    pub generation: u64,
    /// Who signed in, as people know them: the user name, or the object id where there is none.
    pub user: String,
    /// The scopes that were asked for.
    pub scopes: Vec<String>,
    /// When the user signed in.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// Why the user has to sign in again, once Entra has said so.
    pub ended: Option<SignInEnded>,
}

impl SignIn {
    /// Returns the consent that `user` gave at `since`.
    #[must_use]
    pub fn new(
        sealed: Sealed,
        user: impl Into<String>,
        scopes: Vec<String>,
        since: DateTime<Utc>,
    ) -> Self {
        Self {
            sealed,
            generation: 0,
            user: user.into(),
            scopes,
            since,
            ended: None,
        }
    }
}

/// A sign-in has ended: the user, an administrator or a policy took the consent back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct SignInEnded {
    /// When it was seen.
    #[serde(with = "instant")]
    pub at: DateTime<Utc>,
    /// Why, and what to do.
    pub reason: String,
}

impl SignInEnded {
    /// Returns the end of a sign-in.
    #[must_use]
    pub fn new(at: DateTime<Utc>, reason: impl Into<String>) -> Self {
        Self {
            at,
            reason: reason.into(),
        }
    }
}
