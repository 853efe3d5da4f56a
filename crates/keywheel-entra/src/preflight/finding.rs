use std::fmt;

use keywheel_core::ClientId;
use serde::Serialize;

use super::Fix;

/// What an access is to be used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Purpose {
    /// To list the applications of the tenant.
    ListApplications,
    /// To replace its own certificates.
    RollCertificates,
    /// To rotate the client secrets of other applications, whichever they are.
    RotateOthersSecrets,
    /// To rotate its own client secret.
    RotateOwnSecret,
    /// To rotate the client secret of this other application.
    RotateSecretOf(ClientId),
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at.
    pub need: Need,
    /// What it is needed for, if for one purpose only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purpose: Option<Purpose>,
    /// How it stands.
    pub standing: Standing,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<Fix>,
}

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Need {
    /// A registered and valid certificate, which vouches for its successor.
    Certificate,
    /// That our clock agrees with Microsoft's.
    ClockSkew,
    /// When the credentials of the own application end.
    EndDates,
    /// That nothing is granted that is not needed.
    LeastPrivilege,
    /// Ownership of an application, which `Application.ReadWrite.OwnedBy` asks for.
    Ownership,
    /// A permission of Microsoft Graph.
    Permission,
    /// What the tenant's app-management policy allows.
    Policy,
    /// To read the own application.
    ReadApplication,
    /// Room for a second secret.
    SecretLimit,
    /// The signed-in user's own right to manage the application.
    UserStanding,
}

/// How a need stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Standing {
    /// It is there.
    Granted,
    /// It is not there.
    Missing,
    /// It can't be seen.
    Unknown,
    /// It works, and should be changed.
    Warning,
}

impl Finding {
    pub(super) fn new(need: Need, standing: Standing, detail: impl Into<String>) -> Self {
        Self {
            need,
            purpose: None,
            standing,
            detail: detail.into(),
            fix: None,
        }
    }

    pub(super) fn granted(need: Need, detail: impl Into<String>) -> Self {
        Self::new(need, Standing::Granted, detail)
    }

    pub(super) fn missing(need: Need, detail: impl Into<String>, fix: Fix) -> Self {
        Self::new(need, Standing::Missing, detail).fixed_by(fix)
    }

    pub(super) fn unknown(need: Need, detail: impl Into<String>) -> Self {
        Self::new(need, Standing::Unknown, detail)
    }

    pub(super) fn warning(need: Need, detail: impl Into<String>) -> Self {
        Self::new(need, Standing::Warning, detail)
    }

    pub(super) fn fixed_by(mut self, fix: Fix) -> Self {
        self.fix = Some(fix);
        self
    }

    pub(super) fn for_purpose(mut self, purpose: Purpose) -> Self {
        self.purpose = Some(purpose);
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.standing, self.detail)
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Granted => "granted",
            Self::Missing => "missing",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
        })
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Certificate => "certificate",
            Self::ClockSkew => "clock",
            Self::EndDates => "end dates",
            Self::LeastPrivilege => "least privilege",
            Self::Ownership => "ownership",
            Self::Permission => "permission",
            Self::Policy => "policy",
            Self::ReadApplication => "application",
            Self::SecretLimit => "secret limit",
            Self::UserStanding => "user",
        })
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListApplications => f.write_str("list applications"),
            Self::RollCertificates => f.write_str("roll certificates"),
            Self::RotateOthersSecrets => f.write_str("rotate others' secrets"),
            Self::RotateOwnSecret => f.write_str("rotate own secret"),
            Self::RotateSecretOf(client) => write!(f, "rotate the secret of {client}"),
        }
    }
}
