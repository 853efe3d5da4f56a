use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_core::{
    AccessToken, ClientId, ClientSecret, CredentialError, TokenCredential, TokenRequest,
};
use tracing::warn;

use crate::client::{ConfidentialClient, application_form};
use crate::token_cache::TokenCache;
use crate::token_endpoint::{Form, Grant, Proof, TokenEndpoint};

/// Gets an application's tokens by its client secret, and lets the secret be replaced while it is used.
///
/// Clones are handles to one credential with one cache. Whoever rotates the secret keeps a clone and
/// calls [`replace`](Self::replace).
///
/// ```
/// use keywheel_core::{ClientSecret, Cloud, HttpSend, Secret};
/// use keywheel_credentials::{ClientSecretCredential, TokenEndpoint};
///
/// fn connect(http: impl HttpSend + 'static, secret: String) -> Result<ClientSecretCredential, Box<dyn std::error::Error>> {
///     let endpoint = TokenEndpoint::new(http, &Cloud::public(), &"contoso.onmicrosoft.com".parse()?);
///     let client = "11111111-2222-3333-4444-555555555555".parse()?;
///     Ok(ClientSecretCredential::new(endpoint, client, ClientSecret::new(secret)?))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ClientSecretCredential {
    secrets: Arc<SecretsInUse>,
    tokens: TokenCache<ConfidentialClient>,
}

impl ClientSecretCredential {
    /// Returns the credential of the application `client`.
    #[must_use]
    pub fn new(
        endpoint: TokenEndpoint,
        client: ClientId,
        secrets: impl Into<ClientSecrets>,
    ) -> Self {
        Self::build(endpoint, client, secrets.into(), None)
    }

    /// Returns the credential of an application whose secret other processes rotate too.
    ///
    /// When Entra refuses the secret, `source` is asked once whether there is a newer one.
    #[must_use]
    pub fn with_source(
        endpoint: TokenEndpoint,
        client: ClientId,
        secrets: impl Into<ClientSecrets>,
        source: impl SecretSource + 'static,
    ) -> Self {
        Self::build(endpoint, client, secrets.into(), Some(Arc::new(source)))
    }

    fn build(
        endpoint: TokenEndpoint,
        client: ClientId,
        secrets: ClientSecrets,
        source: Option<Arc<dyn SecretSource>>,
    ) -> Self {
        let clock = Arc::clone(endpoint.clock());
        let secrets = Arc::new(SecretsInUse {
            held: Mutex::new(secrets),
            source,
            fallback: Mutex::default(),
        });
        let client = ConfidentialClient::with_secrets(endpoint, client, Arc::clone(&secrets));
        Self {
            secrets,
            tokens: TokenCache::new(client, &clock),
        }
    }

    /// Puts `secrets` into use, and forgets the tokens that an older secret got. Requests on their way
    /// end as they began.
    ///
    /// Returns `false`, and changes nothing, if a later generation is in use already: news may arrive in
    /// any order.
    pub fn replace(&self, secrets: impl Into<ClientSecrets>) -> bool {
        match self.secrets.replace(secrets.into()) {
            Replaced::Not => return false,
            Replaced::Previous => {}
            Replaced::Current => self.tokens.invalidate(),
        }
        true
    }

    /// Returns the generation of the secret in use.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.secrets.held().generation
    }

    /// Returns why Entra refused the secret in use, if the newest token was got with the previous one.
    ///
    /// Such a credential works until the grace ends. Have somebody look at it before.
    #[must_use]
    pub fn fallback(&self) -> Option<CredentialError> {
        lock(&self.secrets.fallback).clone()
    }

    /// Returns the application, for flows in which a user takes part.
    #[must_use]
    pub fn client(&self) -> ConfidentialClient {
        self.tokens.source().clone()
    }
}

#[async_trait]
impl TokenCredential for ClientSecretCredential {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        self.tokens.get(request).await
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.tokens.cached(request)
    }
}

/// The secrets that an application signs in with at one time.
#[derive(Clone, Debug)]
pub struct ClientSecrets {
    current: ClientSecret,
    generation: u64,
    previous: Option<(ClientSecret, DateTime<Utc>)>,
}

impl ClientSecrets {
    /// Returns a set of the one secret `current`, generation 0.
    #[must_use]
    pub fn new(current: ClientSecret) -> Self {
        Self {
            current,
            generation: 0,
            previous: None,
        }
    }

    /// Adds the secret before it, for use until `until` if Entra refuses the current one.
    #[must_use]
    pub fn with_previous(mut self, previous: ClientSecret, until: DateTime<Utc>) -> Self {
        self.previous = Some((previous, until));
        self
    }

    /// Sets how many secrets there were before the current one. Default: 0.
    #[must_use]
    pub fn with_generation(mut self, generation: u64) -> Self {
        self.generation = generation;
        self
    }

    fn previous_at(&self, now: DateTime<Utc>) -> Option<&ClientSecret> {
        let (secret, until) = self.previous.as_ref()?;
        (now < *until).then_some(secret)
    }
}

impl From<ClientSecret> for ClientSecrets {
    fn from(current: ClientSecret) -> Self {
        Self::new(current)
    }
}

/// Knows the newest secret of an application: the store that replicas share.
///
/// # Contract
///
/// Asked only after Entra refused the secret in use, once for each such refusal. An error is logged by
/// its kind, and the refusal stands.
#[async_trait]
pub trait SecretSource: Debug + Send + Sync {
    /// Returns the secrets that are in use now.
    ///
    /// # Errors
    ///
    /// Returns an error when they can't be read.
    async fn newest(&self) -> Result<ClientSecrets, CredentialError>;
}

/// Gets a token with exactly `secret`: one request, over a connection of its own, past every cache.
///
/// A rotation's proof that a new secret works, and the validation of one that a person gave.
///
/// # Errors
///
/// Returns Entra's refusal, or why there is no answer. Nothing is tried again: who proves decides on that.
pub async fn prove_secret(
    endpoint: &TokenEndpoint,
    client: ClientId,
    secret: &ClientSecret,
    request: &TokenRequest,
) -> Result<AccessToken, CredentialError> {
    let form = application_form(client, request).on_fresh_connection();
    let grant = endpoint.exchange_once(&form, Proof::Secret(secret)).await?;
    Ok(grant.token)
}

/// The secrets that the handles of one credential share.
#[derive(Debug)]
pub(crate) struct SecretsInUse {
    held: Mutex<ClientSecrets>,
    source: Option<Arc<dyn SecretSource>>,
    fallback: Mutex<Option<CredentialError>>,
}

enum Replaced {
    Current,
    Not,
    Previous,
}

impl SecretsInUse {
    fn held(&self) -> ClientSecrets {
        lock(&self.held).clone()
    }

    fn replace(&self, secrets: ClientSecrets) -> Replaced {
        let mut held = lock(&self.held);
        if secrets.generation < held.generation {
            return Replaced::Not;
        }
        let same = secrets.current.value().expose() == held.current.value().expose();
        *held = secrets;
        if same {
            Replaced::Previous
        } else {
            Replaced::Current
        }
    }

    /// Sends `form` with the current secret. If Entra refuses that, with a newer one if there is one,
    /// and then with the previous one: each once.
    pub(crate) async fn exchange(
        &self,
        endpoint: &TokenEndpoint,
        form: &Form,
    ) -> Result<Grant, CredentialError> {
        let secrets = self.held();
        let result = endpoint
            .exchange(form, Proof::Secret(&secrets.current))
            .await;
        match result {
            // Apart, for it is seldom: every request would carry its state.
            Err(refusal) if is_about_secret(&refusal) => {
                Box::pin(self.exchange_by_another(endpoint, form, secrets, refusal)).await
            }
            result => self.settle(result),
        }
    }

    async fn exchange_by_another(
        &self,
        endpoint: &TokenEndpoint,
        form: &Form,
        refused: ClientSecrets,
        refusal: CredentialError,
    ) -> Result<Grant, CredentialError> {
        let Some(newer) = self.newer_than(&refused).await else {
            return self.fall_back(endpoint, form, &refused, refusal).await;
        };
        let result = endpoint.exchange(form, Proof::Secret(&newer.current)).await;
        match result {
            Err(refusal) if is_about_secret(&refusal) => {
                self.fall_back(endpoint, form, &newer, refusal).await
            }
            result => self.settle(result),
        }
    }

    /// Forgets that the current secret was refused, once it is not any more.
    fn settle(&self, result: Result<Grant, CredentialError>) -> Result<Grant, CredentialError> {
        if result.is_ok() {
            *lock(&self.fallback) = None;
        }
        result
    }

    async fn fall_back(
        &self,
        endpoint: &TokenEndpoint,
        form: &Form,
        secrets: &ClientSecrets,
        refusal: CredentialError,
    ) -> Result<Grant, CredentialError> {
        let Some(previous) = secrets.previous_at(endpoint.clock().now()) else {
            return Err(refusal);
        };
        match endpoint.exchange(form, Proof::Secret(previous)).await {
            Ok(grant) => {
                warn!(generation = secrets.generation, codes = ?refusal.aadsts_codes(),
                    correlation_id = refusal.correlation_id(), "credential.fallback");
                *lock(&self.fallback) = Some(refusal);
                Ok(grant)
            }
            Err(_) => Err(refusal),
        }
    }

    /// Returns what came into use while `refused` was on its way, here or in another process.
    async fn newer_than(&self, refused: &ClientSecrets) -> Option<ClientSecrets> {
        let held = self.held();
        if held.current.value().expose() != refused.current.value().expose() {
            return Some(held);
        }
        match self.source.as_ref()?.newest().await {
            Ok(newest) if newest.generation > refused.generation => {
                self.replace(newest.clone());
                Some(newest)
            }
            Ok(_) => None,
            Err(error) => {
                warn!(kind = ?error.kind(), "credential.source.failure");
                None
            }
        }
    }
}

/// Tells whether another secret of the same application may fare better: this one is wrong or not known
/// everywhere yet (AADSTS7000215), has expired (7000222) or was revoked (7005003).
fn is_about_secret(error: &CredentialError) -> bool {
    let codes = error.aadsts_codes();
    codes
        .iter()
        .any(|code| matches!(code, 7_000_215 | 7_000_222 | 7_005_003))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
