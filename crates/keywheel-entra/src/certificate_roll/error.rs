use keywheel_core::{ClientId, CredentialError, CredentialErrorKind};
use keywheel_credentials::InvalidCertificate;
use keywheel_graph::{GraphError, GraphErrorKind};
use thiserror::Error;

use super::decide::NoProof;
use crate::preflight::upload_command;
use crate::{ValidationError, ValidationErrorKind};

/// A certificate was not rolled, or not to the end. Calling again is safe.
///
/// The message says what happened and what to do; its sources have the AADSTS or Graph code and the ids that
/// Microsoft's support asks for.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct RollError {
    kind: RollErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What to do about a [`RollError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RollErrorKind {
    /// One of the certificates can't be used as what it was given for. Give another.
    Certificate,
    /// The access gets no token. Give it a credential that still works.
    Credential,
    /// A permission or the ownership is missing: the message says which. Grant it, or register the new
    /// certificate by hand, and call again.
    Forbidden,
    /// The stored connection does not authenticate with the new certificate. Replace its certificate first.
    NotStored,
    /// Graph or Entra refuses for good. Correct what the message names.
    Refused,
    /// Nothing is wrong, and nothing is certain yet: call again.
    Unavailable,
    /// The new certificate is registered, and Entra does not take it yet. Call again; nothing was removed.
    Unproven,
}

impl RollError {
    pub(super) fn new(kind: RollErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    pub(super) fn because(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn unusable(error: InvalidCertificate) -> Self {
        let message = "the new certificate can't be used; make a new pair, and store it";
        Self::new(RollErrorKind::Certificate, message).because(error)
    }

    pub(super) fn unsigned(error: CredentialError) -> Self {
        let message = "the certificate can't sign; check its private key";
        Self::new(RollErrorKind::Certificate, message).because(error)
    }

    pub(super) fn unsettled() -> Self {
        let message = "reads of the application do not agree on its certificates yet; call again";
        Self::new(RollErrorKind::Unavailable, message)
    }

    pub(super) fn graph(error: GraphError, current: Option<InvalidCertificate>) -> Self {
        let (kind, message) = match error.kind() {
            _ if error.is_transient() || error.may_have_effect() => (
                RollErrorKind::Unavailable,
                "Microsoft Graph did not do what was asked, or gave no answer; call again",
            ),
            GraphErrorKind::Credential if current.is_some() => (
                RollErrorKind::Credential,
                "the current certificate is not valid now, so it gets no token: give the access another \
                 credential, such as a client secret, or register the new certificate by hand and give the \
                 access that one",
            ),
            GraphErrorKind::Credential => (
                RollErrorKind::Credential,
                "the access gets no token; give it a credential that works",
            ),
            GraphErrorKind::Forbidden => (
                RollErrorKind::Forbidden,
                "the application may not read its own certificates, and what is registered must be seen so \
                 that nothing is registered twice",
            ),
            _ => (
                RollErrorKind::Refused,
                "Microsoft Graph refused; correct what it names, and call again",
            ),
        };
        Self::new(kind, message).because(error)
    }

    /// The list could not be written in place of a proof.
    pub(super) fn not_written(why: NoProof, client: ClientId, error: GraphError) -> Self {
        if error.kind() != GraphErrorKind::Forbidden {
            return Self::graph(error, None);
        }
        let message = format!(
            "{why}, so it can't vouch for the new one, and without that only who may write to the application \
             registers a certificate: grant Application.ReadWrite.OwnedBy with admin consent and make the \
             service principal an owner of its own application, or register the new one by hand ({}); then \
             call again",
            upload_command(client)
        );
        Self::new(RollErrorKind::Forbidden, message).because(error)
    }

    pub(super) fn unproven(error: CredentialError) -> Self {
        let kind = match error.kind() {
            CredentialErrorKind::Denied
            | CredentialErrorKind::InvalidConfiguration
            | CredentialErrorKind::NotConfigured => RollErrorKind::Refused,
            _ => RollErrorKind::Unproven,
        };
        let message = "Entra gives no token for the new certificate, which is registered; the current one stays \
                       in force";
        Self::new(kind, message).because(error)
    }

    pub(super) fn invalid(error: ValidationError) -> Self {
        let kind = match error.kind() {
            ValidationErrorKind::OtherApplication | ValidationErrorKind::OtherTenant => {
                RollErrorKind::Refused
            }
            _ => RollErrorKind::Unproven,
        };
        let message = "the new certificate gets a token that does not work yet";
        Self::new(kind, message).because(error)
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> RollErrorKind {
        self.kind
    }

    /// Tells whether the same call may succeed later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(
            self.kind,
            RollErrorKind::Unavailable | RollErrorKind::Unproven
        )
    }
}
