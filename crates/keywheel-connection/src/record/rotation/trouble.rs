use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::instant;

/// What went wrong, and when it is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trouble {
    /// Which step failed: `mint`, `prove`, `publish` (to a sink that must have the secret before it is used),
    /// `deliver` (to any other), `inspect` or `revoke`. A success of that step ends the trouble.
    #[serde(default)]
    pub step: String,
    /// What to do about it.
    pub kind: TroubleKind,
    /// What happened and what to do next, in words, with Entra's or Graph's code and correlation id.
    pub message: String,
    /// When it happened first.
    #[serde(with = "instant")]
    pub since: DateTime<Utc>,
    /// How many times in a row.
    pub attempts: u32,
    /// How many times in a row, in whatever steps, Entra did not accept the secret in use.
    #[serde(default)]
    pub refusals: u32,
    /// When it is tried again.
    #[serde(with = "instant")]
    pub retry_at: DateTime<Utc>,
}

impl Trouble {
    /// Returns what went wrong for the first time.
    #[must_use]
    pub fn new(
        kind: TroubleKind,
        message: impl Into<String>,
        since: DateTime<Utc>,
        retry_at: DateTime<Utc>,
    ) -> Self {
        Self {
            step: String::new(),
            kind,
            message: message.into(),
            since,
            attempts: 1,
            refusals: 0,
            retry_at,
        }
    }

    /// Names the step that failed.
    #[must_use]
    pub fn during(mut self, step: impl Into<String>) -> Self {
        self.step = step.into();
        self
    }
}

/// What to do about a [`Trouble`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TroubleKind {
    /// The tenant or the application is gone, disabled, or blocked by a policy: an administrator must act.
    ApplicationUnusable,
    /// The application can't hold another secret: remove one of its own.
    LimitReached,
    /// The current secret is refused and no other one is held: supply one.
    LockedOut,
    /// The tenant's policy forbids client secrets: use a certificate or a federated credential.
    MethodForbidden,
    /// A permission or the ownership is missing: grant it.
    PermissionMissing,
    /// The service made no sense, or refused for a reason we don't know: read the message.
    Refused,
    /// The directory shows secrets of a later generation than this store: it was restored from a backup
    /// or lost writes.
    StoreBehind,
    /// It passes by itself.
    Transient,
}

impl TroubleKind {
    /// Tells whether a person must act.
    #[must_use]
    pub fn needs_a_person(self) -> bool {
        match self {
            Self::ApplicationUnusable
            | Self::LimitReached
            | Self::LockedOut
            | Self::MethodForbidden
            | Self::PermissionMissing
            | Self::Refused
            | Self::StoreBehind => true,
            Self::Transient => false,
        }
    }
}
