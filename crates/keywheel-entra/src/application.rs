use keywheel_core::{ClientId, ClientSecret, CredentialError};
use keywheel_credentials::{
    Certificate, CertificateCredential, ClientSecretCredential, ConfidentialClient, TokenEndpoint,
};

/// The embedding backend's own application: the one that its customers' users sign in to.
///
/// It is one multi-tenant app registration for all connections by authorization code, and proves itself by a
/// secret or a certificate of its own, which keywheel does not store.
#[derive(Clone, Debug)]
pub struct SignInApplication {
    client: ClientId,
    means: Means,
}

#[derive(Clone, Debug)]
enum Means {
    Certificate(Certificate),
    Secret(ClientSecret),
}

impl SignInApplication {
    /// Returns the application `client`, which proves itself by a secret.
    #[must_use]
    pub fn with_secret(client: ClientId, secret: ClientSecret) -> Self {
        Self {
            client,
            means: Means::Secret(secret),
        }
    }

    /// Returns the application `client`, which proves itself by a certificate.
    #[must_use]
    pub fn with_certificate(client: ClientId, certificate: Certificate) -> Self {
        Self {
            client,
            means: Means::Certificate(certificate),
        }
    }

    /// Returns its application (client) id.
    #[must_use]
    pub fn client(&self) -> ClientId {
        self.client
    }

    /// Returns the application as `endpoint` knows it, for an
    /// [`AuthorizationCodeFlow`](keywheel_credentials::AuthorizationCodeFlow).
    ///
    /// # Errors
    ///
    /// Returns an error of kind `InvalidConfiguration` when the certificate has ended or has not begun.
    pub fn at(&self, endpoint: TokenEndpoint) -> Result<ConfidentialClient, CredentialError> {
        match &self.means {
            Means::Secret(secret) => {
                let credential = ClientSecretCredential::new(endpoint, self.client, secret.clone());
                Ok(credential.client())
            }
            Means::Certificate(certificate) => {
                let credential =
                    CertificateCredential::new(endpoint, self.client, certificate.clone());
                Ok(credential.map_err(crate::refusal::certificate)?.client())
            }
        }
    }
}
