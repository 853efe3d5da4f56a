use keywheel_core::{AccessToken, ClientId, CredentialError, TokenRequest};
use std::sync::Arc;

use crate::assertion::ClientAssertion;
use crate::client_secret::SecretsInUse;
use crate::token_cache::TokenSource;
use crate::token_endpoint::{Form, Grant, GrantType, Proof, TokenEndpoint};

/// An application that can prove to the token endpoint who it is (RFC 6749, section 2.1).
///
/// A credential gives it out for flows in which a user takes part, which need the application's proof
/// as well. Clones share one proof: what is replaced in the credential is replaced here.
#[derive(Clone, Debug)]
pub struct ConfidentialClient {
    endpoint: TokenEndpoint,
    id: ClientId,
    means: Means,
}

/// By what the application proves itself.
#[derive(Clone, Debug)]
enum Means {
    Assertion(Arc<dyn ClientAssertion>),
    Secret(Arc<SecretsInUse>),
}

impl ConfidentialClient {
    pub(crate) fn with_assertion(
        endpoint: TokenEndpoint,
        id: ClientId,
        assertion: Arc<dyn ClientAssertion>,
    ) -> Self {
        Self {
            endpoint,
            id,
            means: Means::Assertion(assertion),
        }
    }

    pub(crate) fn with_secrets(
        endpoint: TokenEndpoint,
        id: ClientId,
        secrets: Arc<SecretsInUse>,
    ) -> Self {
        Self {
            endpoint,
            id,
            means: Means::Secret(secrets),
        }
    }

    /// Returns the application's id.
    #[must_use]
    pub fn id(&self) -> ClientId {
        self.id
    }

    /// Returns where it proves itself.
    #[must_use]
    pub fn endpoint(&self) -> &TokenEndpoint {
        &self.endpoint
    }

    /// Sends `form` with the application's proof.
    pub(crate) async fn exchange(&self, form: &Form) -> Result<Grant, CredentialError> {
        match &self.means {
            Means::Assertion(assertion) => {
                self.endpoint
                    .exchange(form, Proof::Assertion(&**assertion))
                    .await
            }
            Means::Secret(secrets) => secrets.exchange(&self.endpoint, form).await,
        }
    }
}

impl TokenSource for ConfidentialClient {
    /// Gets a token for the application itself (RFC 6749, section 4.4).
    async fn fetch(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        let form = application_form(self.id, request);
        Ok(self.exchange(&form).await?.token)
    }
}

pub(crate) fn application_form(id: ClientId, request: &TokenRequest) -> Form {
    Form::new(id, GrantType::ClientCredentials, &request.scopes)
        .with_claims(request.claims.as_deref())
}
