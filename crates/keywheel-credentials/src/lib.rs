//! Credentials for Microsoft Entra ID.

#![cfg_attr(
    not(feature = "authorization-code"),
    allow(
        dead_code,
        reason = "the token endpoint knows what only flows with a user need"
    )
)]

mod advice;
mod assertion;
#[cfg(feature = "authorization-code")]
mod authorization_code;
#[cfg(feature = "certificate")]
mod certificate;
#[cfg(feature = "certificate")]
mod certificate_credential;
mod chain;
mod client;
mod client_secret;
mod federated;
mod managed_identity;
mod patience;
#[cfg(feature = "authorization-code")]
mod refresh_token;
#[cfg(test)]
mod test_support;
mod token_cache;
mod token_endpoint;
mod wording;

pub use self::assertion::ClientAssertion;
#[cfg(feature = "authorization-code")]
pub use self::authorization_code::{
    Authorization, AuthorizationCodeFlow, AuthorizationError, AuthorizationErrorKind,
    AuthorizationRequest, Callback, InvalidRedirectUri, PendingAdminConsent, PendingAuthorization,
    Prompt, SealKey, SignedInUser, UnsealError,
};
#[cfg(feature = "certificate")]
pub use self::certificate::{Certificate, CertificateWarning, InvalidCertificate};
#[cfg(feature = "certificate")]
pub use self::certificate_credential::CertificateCredential;
pub use self::chain::CredentialChain;
pub use self::client::ConfidentialClient;
pub use self::client_secret::{ClientSecretCredential, ClientSecrets, SecretSource, prove_secret};
pub use self::federated::{AssertionCallback, AssertionFile, ClientAssertionCredential};
pub use self::managed_identity::{ManagedIdentity, ManagedIdentityCredential};
#[cfg(feature = "authorization-code")]
pub use self::refresh_token::{RefreshTokenCredential, RefreshTokenStore};
pub use self::token_endpoint::TokenEndpoint;
