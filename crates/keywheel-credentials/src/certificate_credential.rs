use std::sync::Arc;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_core::{
    AccessToken, ClientId, CredentialError, CredentialErrorKind, Secret, TokenCredential,
    TokenRequest,
};

use crate::assertion::ClientAssertion;
use crate::certificate::{Certificate, CertificateWarning, InvalidCertificate, Signer};
use crate::client::{ConfidentialClient, application_form};
use crate::token_cache::TokenCache;
use crate::token_endpoint::{Proof, TokenEndpoint};

/// Gets an application's tokens by a certificate: no secret leaves this process.
///
/// Clones are handles to one credential with one cache.
///
/// ```no_run
/// use keywheel_core::{Cloud, ReqwestSend};
/// use keywheel_credentials::{Certificate, CertificateCredential, TokenEndpoint};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let certificate = Certificate::read(&std::fs::read("application.pem")?, None)?;
/// let http = ReqwestSend::builder().build()?;
/// let endpoint = TokenEndpoint::new(http, &Cloud::public(), &"contoso.onmicrosoft.com".parse()?);
/// let client = "11111111-2222-3333-4444-555555555555".parse()?;
/// let credential = CertificateCredential::new(endpoint, client, certificate)?;
/// if let Some(warning) = credential.warning() {
///     eprintln!("{warning}");
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct CertificateCredential {
    assertion: Arc<CertificateAssertion>,
    tokens: TokenCache<ConfidentialClient>,
}

impl CertificateCredential {
    /// Returns the credential of the application `client`.
    ///
    /// # Errors
    ///
    /// Returns an error when the certificate has ended or has not begun.
    pub fn new(
        endpoint: TokenEndpoint,
        client: ClientId,
        certificate: Certificate,
    ) -> Result<Self, InvalidCertificate> {
        certificate.check(endpoint.clock().now())?;
        let clock = Arc::clone(endpoint.clock());
        let assertion = Arc::new(CertificateAssertion::new(certificate, client));
        let shared: Arc<dyn ClientAssertion> = Arc::<CertificateAssertion>::clone(&assertion);
        let client = ConfidentialClient::with_assertion(endpoint, client, shared);
        Ok(Self {
            assertion,
            tokens: TokenCache::new(client, &clock),
        })
    }

    /// Puts `certificate` into use, and forgets the tokens that the one before it got. Requests on their
    /// way end as they began.
    ///
    /// # Errors
    ///
    /// Returns an error, and changes nothing, when the certificate has ended or has not begun.
    pub fn replace(&self, certificate: Certificate) -> Result<(), InvalidCertificate> {
        certificate.check(self.now())?;
        let signer = Signer::new(certificate, self.assertion.client);
        self.assertion.signer.store(Arc::new(signer));
        self.tokens.invalidate();
        Ok(())
    }

    /// Returns the certificate in use.
    #[must_use]
    pub fn certificate(&self) -> Certificate {
        self.assertion.signer.load().certificate().clone()
    }

    /// Returns a warning when the certificate in use nears its end.
    #[must_use]
    pub fn warning(&self) -> Option<CertificateWarning> {
        self.certificate().warning(self.now())
    }

    fn now(&self) -> DateTime<Utc> {
        self.tokens.source().endpoint().clock().now()
    }

    /// Returns the application, for flows in which a user takes part.
    #[must_use]
    pub fn client(&self) -> ConfidentialClient {
        self.tokens.source().clone()
    }
}

#[async_trait]
impl TokenCredential for CertificateCredential {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        self.tokens.get(request).await
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.tokens.cached(request)
    }
}

/// Gets a token with exactly `certificate`: one request, over a connection of its own, past every cache.
///
/// The proof that a new certificate works, as [`prove_secret`](crate::prove_secret) is for a secret.
///
/// # Errors
///
/// Returns Entra's refusal, or why there is no answer; of kind `InvalidConfiguration` when the certificate has
/// ended or has not begun. Nothing is tried again: who proves decides on that.
pub async fn prove_certificate(
    endpoint: &TokenEndpoint,
    client: ClientId,
    certificate: &Certificate,
    request: &TokenRequest,
) -> Result<AccessToken, CredentialError> {
    let form = application_form(client, request).on_fresh_connection();
    let assertion = CertificateAssertion::new(certificate.clone(), client);
    let proof = Proof::Assertion(&assertion);
    Ok(endpoint.exchange_once(&form, proof).await?.token)
}

/// Signs with the certificate that is in use at the moment.
#[derive(Debug)]
struct CertificateAssertion {
    client: ClientId,
    signer: ArcSwap<Signer>,
}

impl CertificateAssertion {
    fn new(certificate: Certificate, client: ClientId) -> Self {
        Self {
            client,
            signer: ArcSwap::from_pointee(Signer::new(certificate, client)),
        }
    }
}

#[async_trait]
impl ClientAssertion for CertificateAssertion {
    async fn assertion(&self, endpoint: &TokenEndpoint) -> Result<Secret, CredentialError> {
        let signer = self.signer.load_full();
        let now = endpoint.assertion_time();
        signer.certificate().check(now).map_err(|problem| {
            CredentialError::new(
                CredentialErrorKind::InvalidConfiguration,
                problem.to_string(),
            )
        })?;
        signer.sign(endpoint.url(), now, endpoint.entropy().uuid())
    }
}
