use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use keywheel_core::{
    AccessToken, CredentialError, CredentialErrorKind, Secret, TokenCredential, TokenRequest,
};
use tokio::sync::Mutex;

use crate::authorization_code::Authorization;
use crate::client::ConfidentialClient;
use crate::token_cache::{TokenCache, TokenSource};
use crate::token_endpoint::{Form, GrantType};

/// Keeps the refresh token of one user's authorization.
///
/// # Contract
///
/// * `save` is durable when it returns, and replaces what was there. It is called before the access token
///   that came along is used, so that a crash in between loses nothing.
/// * `load` gives what was saved last, by any replica.
/// * Saving the same token twice is harmless.
/// * One credential calls one of them at a time. Replicas that share a store serialise among themselves
///   if they can: Entra bears two at once, servers that revoke reused tokens do not.
#[async_trait]
pub trait RefreshTokenStore: Debug + Send + Sync {
    /// Returns the newest refresh token.
    ///
    /// # Errors
    ///
    /// Returns an error when it can't be read.
    async fn load(&self) -> Result<Secret, CredentialError>;

    /// Keeps `refresh_token` instead of the one before.
    ///
    /// # Errors
    ///
    /// Returns an error when it can't be written. It is written again before the next use.
    async fn save(&self, refresh_token: &Secret) -> Result<(), CredentialError>;
}

/// Gets tokens for a user who signed in once, by the refresh token (RFC 6749, section 6).
///
/// Clones are handles to one credential with one cache. When the sign-in has ended (it was revoked, the
/// password was reset, 90 days went by unused), errors are of the kind
/// [`InteractionRequired`](CredentialErrorKind::InteractionRequired) and say why.
#[derive(Clone, Debug)]
pub struct RefreshTokenCredential {
    tokens: TokenCache<Refresher>,
}

impl RefreshTokenCredential {
    /// Returns the credential of the user whose refresh token `store` keeps.
    #[must_use]
    pub fn new(client: ConfidentialClient, store: impl RefreshTokenStore + 'static) -> Self {
        let clock = Arc::clone(client.endpoint().clock());
        let source = Refresher {
            client,
            store: Arc::new(store),
            unsaved: Mutex::default(),
        };
        Self {
            tokens: TokenCache::new(source, &clock),
        }
    }

    /// Returns the credential of a user who signed in just now. The refresh token is saved before the
    /// access token is used.
    ///
    /// # Errors
    ///
    /// Returns an error when there is no refresh token, or `store` does not take it.
    pub async fn from_authorization(
        authorization: Authorization,
        client: ConfidentialClient,
        store: impl RefreshTokenStore + 'static,
    ) -> Result<Self, CredentialError> {
        let refresh_token = authorization.refresh_token.ok_or_else(withheld)?;
        store.save(&refresh_token).await?;
        let credential = Self::new(client, store);
        credential
            .tokens
            .put(&authorization.scopes, &authorization.token);
        Ok(credential)
    }
}

#[async_trait]
impl TokenCredential for RefreshTokenCredential {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        self.tokens.get(request).await
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.tokens.cached(request)
    }
}

/// Exchanges the refresh token, one exchange at a time.
#[derive(Debug)]
struct Refresher {
    client: ConfidentialClient,
    store: Arc<dyn RefreshTokenStore>,
    /// A refresh token that the store did not take: the newest one there is.
    unsaved: Mutex<Option<Secret>>,
}

impl TokenSource for Refresher {
    async fn fetch(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        let mut unsaved = self.unsaved.lock().await;
        let refresh_token = self.newest(&mut unsaved).await?;
        let client = &self.client;
        let form = Form::new(client.id(), GrantType::RefreshToken, &request.scopes)
            .with_claims(request.claims.as_deref())
            .with_secret("refresh_token", &refresh_token);
        let grant = client.exchange(&form).await?;
        // An answer without a new one leaves the old one good.
        if let Some(next) = grant.refresh_token {
            *unsaved = Some(next);
            self.newest(&mut unsaved).await?;
        }
        Ok(grant.token)
    }
}

impl Refresher {
    /// Saves what is unsaved, and returns the newest refresh token.
    async fn newest(&self, unsaved: &mut Option<Secret>) -> Result<Secret, CredentialError> {
        let Some(newest) = unsaved.as_ref() else {
            return self.store.load().await;
        };
        self.store.save(newest).await?;
        let newest = newest.clone();
        *unsaved = None;
        Ok(newest)
    }
}

fn withheld() -> CredentialError {
    let message =
        "the sign-in gave no refresh token: allow the scope `offline_access` in the tenant";
    CredentialError::new(CredentialErrorKind::Denied, message)
}

#[cfg(test)]
mod tests;
