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
use crate::token_endpoint::{Form, Grant, GrantType};

/// Keeps the refresh token of one user's authorization.
///
/// # Contract
///
/// * `save` is durable when it returns, and replaces what was loaded or saved last. It is called before the
///   access token that came along is used, so that a crash in between loses nothing. Where somebody else saved
///   another one meanwhile, a store that can tell keeps that one: a user who has just signed in again must not
///   be lost to a refresh that was on its way.
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

    /// Is told that the refresh token which was loaded last, and is still the newest, was refused for good: the
    /// user has to sign in again. Does nothing unless a store overrides it.
    async fn ended(&self, why: &CredentialError) {
        let _ = why;
    }
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
        self.keep(&mut unsaved).await?;
        let grant = self.refresh(request).await?;
        // An answer without a new one leaves the old one good.
        if grant.refresh_token.is_some() {
            *unsaved = grant.refresh_token;
            self.keep(&mut unsaved).await?;
        }
        Ok(grant.token)
    }
}

impl Refresher {
    /// Saves what is unsaved.
    async fn keep(&self, unsaved: &mut Option<Secret>) -> Result<(), CredentialError> {
        if let Some(newest) = unsaved.as_ref() {
            self.store.save(newest).await?;
            *unsaved = None;
        }
        Ok(())
    }

    /// Exchanges the stored refresh token, and the one that took its place while it was being refused: the user
    /// may have signed in again, or another replica been quicker.
    async fn refresh(&self, request: &TokenRequest) -> Result<Grant, CredentialError> {
        let mut refresh_token = self.store.load().await?;
        loop {
            let refused = match self.exchange(request, &refresh_token).await {
                Err(error) if ends_sign_in(&error, request) => error,
                answer => return answer,
            };
            match self.store.load().await {
                Ok(newest) if newest.expose() != refresh_token.expose() => refresh_token = newest,
                Ok(_) => {
                    self.store.ended(&refused).await;
                    return Err(refused);
                }
                // Why there is no token is worth more than why the store does not answer.
                Err(_) => return Err(refused),
            }
        }
    }

    async fn exchange(
        &self,
        request: &TokenRequest,
        refresh_token: &Secret,
    ) -> Result<Grant, CredentialError> {
        let client = &self.client;
        let form = Form::new(client.id(), GrantType::RefreshToken, &request.scopes)
            .with_claims(request.claims.as_deref())
            .with_secret("refresh_token", refresh_token);
        client.exchange(&form).await
    }
}

/// A resource that asks for more, by a claims challenge, does not end the sign-in.
fn ends_sign_in(error: &CredentialError, request: &TokenRequest) -> bool {
    error.kind() == CredentialErrorKind::InteractionRequired && request.claims.is_none()
}

fn withheld() -> CredentialError {
    let message =
        "the sign-in gave no refresh token: allow the scope `offline_access` in the tenant";
    CredentialError::new(CredentialErrorKind::Denied, message)
}

#[cfg(test)]
mod tests;
