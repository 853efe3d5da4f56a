//! What an error of Entra or Graph means for a rotation.

use keywheel_connection::{IssuerError, IssuerErrorKind};
use keywheel_core::{CredentialError, CredentialErrorKind, Report};
use keywheel_credentials::InvalidCertificate;
use keywheel_graph::{GraphError, GraphErrorKind, Refusal};

/// A secret that is wrong, removed, revoked, or not known to this replica yet.
const REFUSED: [u32; 3] = [7_000_215, 7_005_003, 70_002];
/// A secret that has ended.
const EXPIRED: [u32; 1] = [7_000_222];

pub(crate) fn credential(error: &CredentialError) -> IssuerError {
    IssuerError::new(credential_kind(error), Report(error).to_string())
        .with_retry_after(error.retry_after())
}

fn credential_kind(error: &CredentialError) -> IssuerErrorKind {
    let codes = error.aadsts_codes();
    if codes.iter().any(|code| EXPIRED.contains(code)) {
        return IssuerErrorKind::Expired;
    }
    if codes.iter().any(|code| REFUSED.contains(code)) {
        return IssuerErrorKind::Refused;
    }
    match error.kind() {
        CredentialErrorKind::InvalidClient => IssuerErrorKind::Refused,
        CredentialErrorKind::Denied | CredentialErrorKind::InteractionRequired => {
            IssuerErrorKind::ApplicationUnusable
        }
        CredentialErrorKind::Throttled => IssuerErrorKind::Throttled,
        CredentialErrorKind::Transport | CredentialErrorKind::Unavailable => {
            IssuerErrorKind::Unavailable
        }
        _ => IssuerErrorKind::Invalid,
    }
}

pub(crate) fn graph(error: &GraphError) -> IssuerError {
    if let Some(credential_error) = error.credential_error() {
        return credential(credential_error);
    }
    IssuerError::new(graph_kind(error), Report(error).to_string())
        .with_retry_after(error.retry_after())
}

fn graph_kind(error: &GraphError) -> IssuerErrorKind {
    if error.may_have_effect() {
        return IssuerErrorKind::Unknown;
    }
    match error.refusal() {
        Some(Refusal::LifetimeTooLong) => IssuerErrorKind::LifetimeTooLong,
        Some(Refusal::CredentialTypeForbidden) => IssuerErrorKind::MethodForbidden,
        Some(Refusal::TooManySecrets | Refusal::ObjectTooLarge) => IssuerErrorKind::LimitReached,
        _ => by_kind(error.kind()),
    }
}

fn by_kind(kind: GraphErrorKind) -> IssuerErrorKind {
    match kind {
        GraphErrorKind::Conflict => IssuerErrorKind::Busy,
        GraphErrorKind::Forbidden => IssuerErrorKind::Forbidden,
        GraphErrorKind::NotFound => IssuerErrorKind::ApplicationUnusable,
        GraphErrorKind::Throttled => IssuerErrorKind::Throttled,
        GraphErrorKind::Transport | GraphErrorKind::Unavailable => IssuerErrorKind::Unavailable,
        _ => IssuerErrorKind::Invalid,
    }
}

/// A certificate that can't be used.
pub(crate) fn certificate(error: InvalidCertificate) -> CredentialError {
    let kind = CredentialErrorKind::InvalidConfiguration;
    CredentialError::new(kind, error.to_string()).with_source(error)
}
