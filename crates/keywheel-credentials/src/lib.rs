//! Credentials for Microsoft Entra ID: how an application, or a user through it, gets tokens.
//!
//! | what you have | what to use |
//! |---|---|
//! | a client secret | [`ClientSecretCredential`]; a rotation replaces the secret while requests run |
//! | a certificate | `CertificateCredential`, from PEM or PFX as people have it |
//! | users who sign in | `AuthorizationCodeFlow`, then `RefreshTokenCredential` |
//! | Kubernetes, CI, another issuer | [`ClientAssertionCredential`]: no secret at all |
//! | a machine in Azure | [`ManagedIdentityCredential`]: no secret at all |
//! | several of these, by place | [`CredentialChain`] |
//!
//! All of them implement [`TokenCredential`](keywheel_core::TokenCredential), share one exchange with the
//! token endpoint, and keep tokens in one kind of cache: a token that is at hand costs no lock, no
//! allocation and no I/O; a thousand callers without one make one request; renewal begins five minutes
//! before the end while the old token goes on serving.
//!
//! Errors ([`CredentialError`](keywheel_core::CredentialError)) name the AADSTS code and the correlation id
//! and end in what to do next. No secret, token or code is in any error, log or `Debug`.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `authorization-code` | yes | `AuthorizationCodeFlow`, `RefreshTokenCredential` |
//! | `certificate` | yes | `CertificateCredential`: PEM, PKCS#8 and PKCS#1 |
//! | `encrypted-keys` | no | private keys in PKCS#8 that a password protects |
//! | `pfx` | no | PKCS#12 archives |
//! | `azure-core` | no | the credentials as `azure_core::credentials::TokenCredential`, for Azure SDK clients |

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
#[cfg(feature = "azure-core")]
mod azure_sdk;
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
#[cfg(feature = "azure-core")]
pub use self::azure_sdk::AzureSdkCredential;
#[cfg(feature = "certificate")]
pub use self::certificate::{Certificate, CertificateWarning, InvalidCertificate};
#[cfg(feature = "certificate")]
pub use self::certificate_credential::{CertificateCredential, prove_certificate};
pub use self::chain::CredentialChain;
pub use self::client::ConfidentialClient;
pub use self::client_secret::{ClientSecretCredential, ClientSecrets, SecretSource, prove_secret};
pub use self::federated::{AssertionCallback, AssertionFile, ClientAssertionCredential};
pub use self::managed_identity::{ManagedIdentity, ManagedIdentityCredential};
#[cfg(feature = "authorization-code")]
pub use self::refresh_token::{RefreshTokenCredential, RefreshTokenStore};
pub use self::token_endpoint::TokenEndpoint;
