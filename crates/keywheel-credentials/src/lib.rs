//! Credentials for Microsoft Entra ID.

mod assertion;
#[cfg(feature = "certificate")]
mod certificate;
#[cfg(feature = "certificate")]
mod certificate_credential;
mod client;
mod client_secret;
mod federated;
#[cfg(test)]
mod test_support;
mod token_cache;
mod token_endpoint;

pub use self::assertion::ClientAssertion;
#[cfg(feature = "certificate")]
pub use self::certificate::{Certificate, CertificateWarning, InvalidCertificate};
#[cfg(feature = "certificate")]
pub use self::certificate_credential::CertificateCredential;
pub use self::client::ConfidentialClient;
pub use self::client_secret::{ClientSecretCredential, ClientSecrets, SecretSource, prove_secret};
pub use self::federated::{AssertionCallback, AssertionFile, ClientAssertionCredential};
pub use self::token_endpoint::TokenEndpoint;
