use std::fmt;

use keywheel_core::CredentialError;
use thiserror::Error;

use crate::advice::{self, Advice};
use crate::wording::{Description, identifier};

/// A sign-in or consent that came to nothing. Nothing was changed; it can begin anew.
#[derive(Clone, Debug, Error)]
#[error("{message}")]
pub struct AuthorizationError {
    kind: AuthorizationErrorKind,
    message: Box<str>,
    source: Option<Cause>,
}

/// What to tell the user after an [`AuthorizationError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AuthorizationErrorKind {
    /// Only an administrator can consent to this application. Send one to the admin-consent address.
    AdminConsentRequired,
    /// The user turned back. Offer to begin again.
    Cancelled,
    /// The user or an administrator declined to consent. Explain what the permissions are for.
    ConsentDeclined,
    /// The answer came too late. Begin again.
    Expired,
    /// The answer belongs to another sign-in: a forged address, or two windows. Begin again.
    ForeignState,
    /// Who signed in can't be told for certain. Nobody is signed in. Report it.
    InvalidIdToken,
    /// What came is no answer of Entra's. Look where it came from.
    Malformed,
    /// Entra refused. The message says why and what to do.
    Refused,
    /// The answer came before: somebody went back, reloaded, or stole it. Begin again.
    Replayed,
    /// No answer from Entra, or Entra in trouble. Begin again later.
    Unavailable,
}

#[derive(Clone, Debug, Error)]
enum Cause {
    #[error(transparent)]
    Credential(CredentialError),
    #[error(transparent)]
    Words(Description),
}

impl AuthorizationError {
    fn new(kind: AuthorizationErrorKind, message: impl Into<Box<str>>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(super) fn expired() -> Self {
        let message = "the sign-in took too long: start it again";
        Self::new(AuthorizationErrorKind::Expired, message)
    }

    pub(super) fn foreign() -> Self {
        let message = "the answer belongs to another sign-in: start again, in one window";
        Self::new(AuthorizationErrorKind::ForeignState, message)
    }

    pub(super) fn malformed(problem: &str) -> Self {
        let message = format!("this is no answer of Entra's, {problem}: start the sign-in again");
        Self::new(AuthorizationErrorKind::Malformed, message)
    }

    pub(super) fn replayed() -> Self {
        let message = "the answer came before: start the sign-in again";
        Self::new(AuthorizationErrorKind::Replayed, message)
    }

    pub(super) fn invalid_id_token(problem: impl fmt::Display) -> Self {
        let message = format!(
            "the id token {problem}, so nobody is signed in: start again, and report it if it happens again"
        );
        Self::new(AuthorizationErrorKind::InvalidIdToken, message)
    }

    /// Something that a sign-in is checked by can't be had.
    pub(super) fn unavailable(error: CredentialError) -> Self {
        let message = "the sign-in can't be checked: start it again later";
        Self {
            source: Some(Cause::Credential(error)),
            ..Self::new(AuthorizationErrorKind::Unavailable, message)
        }
    }

    /// The token endpoint gave nothing for the code.
    pub(super) fn not_redeemed(error: CredentialError) -> Self {
        let kind = if error.aadsts_codes().contains(&54_005) {
            AuthorizationErrorKind::Replayed
        } else if error.is_transient() {
            AuthorizationErrorKind::Unavailable
        } else {
            AuthorizationErrorKind::Refused
        };
        let message = "the sign-in can't be completed: start it again once the cause is removed";
        Self {
            source: Some(Cause::Credential(error)),
            ..Self::new(kind, message)
        }
    }

    /// The browser brought a refusal.
    pub(super) fn refused(refusal: &RedirectRefusal) -> Self {
        let description = Description::of(&refusal.description);
        let code = description.code();
        let advice = refusal.advice(code);
        let word = match code {
            Some(code) => format!("AADSTS{code}"),
            None => identifier(&refusal.error).unwrap_or_else(|| "error".to_owned()),
        };
        let Advice { what, then, .. } = advice;
        Self {
            source: (!description.is_empty()).then_some(Cause::Words(description)),
            ..Self::new(refusal.kind(code), format!("{what} ({word}): {then}"))
        }
    }

    /// Returns what to tell the user.
    #[must_use]
    pub fn kind(&self) -> AuthorizationErrorKind {
        self.kind
    }

    /// Returns the token endpoint's refusal or silence, if it was that which ended the sign-in.
    ///
    /// One of kind [`InvalidClient`](keywheel_core::CredentialErrorKind::InvalidClient) is about the
    /// application's own secret or certificate, and no user can do anything about it.
    #[must_use]
    pub fn credential_error(&self) -> Option<&CredentialError> {
        match self.source.as_ref()? {
            Cause::Credential(error) => Some(error),
            Cause::Words(_) => None,
        }
    }
}

/// A refusal as the browser brings it.
#[derive(Clone, Debug)]
pub(super) struct RedirectRefusal {
    pub(super) error: String,
    pub(super) description: String,
    pub(super) subcode: Option<String>,
}

impl RedirectRefusal {
    fn is_cancelled(&self) -> bool {
        self.subcode.as_deref() == Some("cancel")
    }

    fn kind(&self, code: Option<u32>) -> AuthorizationErrorKind {
        match (self.error.as_str(), code) {
            _ if self.is_cancelled() => AuthorizationErrorKind::Cancelled,
            (_, Some(90_094)) | ("consent_required", _) => {
                AuthorizationErrorKind::AdminConsentRequired
            }
            (_, Some(65_004)) | ("access_denied" | "permission_denied", None) => {
                AuthorizationErrorKind::ConsentDeclined
            }
            ("server_error" | "temporarily_unavailable", _) => AuthorizationErrorKind::Unavailable,
            _ => AuthorizationErrorKind::Refused,
        }
    }

    fn advice(&self, code: Option<u32>) -> Advice {
        let known = code.and_then(|code| advice::on_codes(&[code]));
        if self.is_cancelled() {
            return CANCELLED;
        }
        *known.unwrap_or_else(|| advice::on_error(&self.error))
    }
}

const CANCELLED: Advice = Advice {
    kind: keywheel_core::CredentialErrorKind::Denied,
    what: "the user turned back",
    then: "start the sign-in again",
};
