mod admin_consent;
mod callback;
mod error;
mod id_token;
mod pending;
mod redirect_uri;
mod request;
mod seal;

use std::sync::{Arc, Mutex, PoisonError};

use aws_lc_rs::digest::{self, SHA256};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use keywheel_core::{AccessToken, Entropy, Scope, Secret};
use url::Url;

pub use self::admin_consent::PendingAdminConsent;
pub use self::callback::Callback;
pub use self::error::{AuthorizationError, AuthorizationErrorKind};
use self::id_token::Expected;
pub use self::id_token::SignedInUser;
pub use self::pending::PendingAuthorization;
pub use self::redirect_uri::InvalidRedirectUri;
use self::redirect_uri::RedirectUri;
pub use self::request::{AuthorizationRequest, Prompt};
pub use self::seal::{SealKey, UnsealError};
use crate::client::ConfidentialClient;
use crate::token_endpoint::{Form, Grant, GrantType};

/// Signs users in by the authorization code flow with PKCE (RFC 6749, section 4.1; RFC 7636).
///
/// 1. [`begin`](Self::begin) says where to send the browser, and gives a [`PendingAuthorization`] to keep.
/// 2. Entra sends the browser back to the redirect URI. [`Callback::parse`] reads what came with it.
/// 3. [`complete`](Self::complete) checks that the answer belongs to what was begun, redeems the code
///    and verifies who signed in.
/// 4. A [`RefreshTokenCredential`](crate::RefreshTokenCredential) gets tokens from then on.
///
/// Keep one flow for each application: it remembers which answers came already. Clones share that.
///
/// ```
/// use keywheel_core::Cloud;
/// use keywheel_credentials::{AuthorizationCodeFlow, AuthorizationRequest, ConfidentialClient};
///
/// fn sign_in(client: ConfidentialClient) -> Result<(), Box<dyn std::error::Error>> {
///     let flow = AuthorizationCodeFlow::new(client, "https://app.example/callback")?;
///     let (url, pending) = flow.begin(&AuthorizationRequest::new(Cloud::public().graph_scope()));
///     assert!(url.as_str().contains("code_challenge_method=S256"));
///     Ok(())
/// }
/// ```
#[derive(Clone, Debug)]
pub struct AuthorizationCodeFlow(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: ConfidentialClient,
    redirect_uri: RedirectUri,
    answered: Mutex<Vec<Answered>>,
}

/// A `state` that came back. Only its hash is kept.
#[derive(Debug)]
struct Answered {
    state: [u8; 32],
    until: DateTime<Utc>,
}

/// Asked for with every sign-in: an id token, and a refresh token.
const OWN_SCOPES: [&str; 3] = ["openid", "profile", "offline_access"];

impl AuthorizationCodeFlow {
    /// Returns the flow of `client`, whose users come back to `redirect_uri`.
    ///
    /// # Errors
    ///
    /// Returns an error when Entra would refuse such a redirect URI: it is `https` (`http` for `localhost`
    /// and `127.0.0.1`), without a fragment, and has at most 256 characters.
    pub fn new(
        client: ConfidentialClient,
        redirect_uri: impl Into<String>,
    ) -> Result<Self, InvalidRedirectUri> {
        Ok(Self(Arc::new(Inner {
            client,
            redirect_uri: RedirectUri::new(redirect_uri.into())?,
            answered: Mutex::default(),
        })))
    }

    /// Begins a sign-in: returns where to send the browser, and what to keep until it comes back.
    #[must_use]
    pub fn begin(&self, request: &AuthorizationRequest) -> (Url, PendingAuthorization) {
        let client = &self.0.client;
        let pending = PendingAuthorization::new(client, &self.0.redirect_uri, &request.scopes);
        let endpoint = client.endpoint();
        let authorize = endpoint.cloud().authorize_endpoint(endpoint.tenant());
        (pending.url(authorize, request), pending)
    }

    /// Begins an administrator's consent to the application for the whole tenant: returns where to send
    /// the administrator's browser, and what to keep until it comes back.
    ///
    /// For application permissions `scope` is the resource's `/.default`.
    #[must_use]
    pub fn begin_admin_consent(&self, scope: &Scope) -> (Url, PendingAdminConsent) {
        let pending = PendingAdminConsent::new(self.0.client.endpoint());
        let url = pending.url(&self.0.client, &self.0.redirect_uri, scope);
        (url, pending)
    }

    /// Ends a sign-in: checks the answer, redeems the code, and verifies the id token.
    ///
    /// Keep the refresh token of the outcome before the access token is used.
    ///
    /// # Errors
    ///
    /// Returns an error when the answer is not to this sign-in, came before or too late; when the user
    /// or Entra refused; when the code can't be redeemed; and when the id token isn't what it should be.
    /// Each has a [`kind`](AuthorizationError::kind) of its own.
    ///
    /// # Cancel safety
    ///
    /// A code is good once. After the future was dropped the sign-in has to begin anew.
    pub async fn complete(
        &self,
        pending: PendingAuthorization,
        callback: Callback,
    ) -> Result<Authorization, AuthorizationError> {
        pending.check_owner(&self.0.client, &self.0.redirect_uri)?;
        pending.check_state(&callback)?;
        self.admit(&pending)?;
        let code = callback.into_code()?;
        let grant = self.redeem(&pending, &code).await?;
        let expected = Expected {
            client: self.0.client.id(),
            nonce: pending.nonce(),
        };
        let id_token = grant.id_token.as_ref();
        let endpoint = self.0.client.endpoint();
        let user = id_token::verify(endpoint, id_token, &expected).await?;
        Ok(Authorization {
            user,
            scopes: pending.scopes().to_vec(),
            granted: grant.scope,
            token: grant.token,
            refresh_token: grant.refresh_token,
        })
    }

    /// Lets an answer in that comes in time and for the first time.
    fn admit(&self, pending: &PendingAuthorization) -> Result<(), AuthorizationError> {
        let now = self.0.client.endpoint().clock().now();
        if now >= pending.expires_on() {
            return Err(AuthorizationError::expired());
        }
        let state = hash(pending.state());
        let mut answered = self
            .0
            .answered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        answered.retain(|one| now < one.until);
        if answered.iter().any(|one| one.state == state) {
            return Err(AuthorizationError::replayed());
        }
        answered.push(Answered {
            state,
            until: pending.expires_on(),
        });
        Ok(())
    }

    async fn redeem(
        &self,
        pending: &PendingAuthorization,
        code: &Secret,
    ) -> Result<Grant, AuthorizationError> {
        let client = &self.0.client;
        let form = Form::new(client.id(), GrantType::AuthorizationCode, pending.scopes())
            .with_secret("code", code)
            .with_secret("code_verifier", pending.verifier())
            .with("redirect_uri", self.0.redirect_uri.as_str());
        let grant = client.exchange(&form).await;
        grant.map_err(AuthorizationError::not_redeemed)
    }
}

/// A user's consent to act for them: what a completed sign-in gives.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Authorization {
    /// Who signed in.
    pub user: SignedInUser,
    /// The scopes that were asked for.
    pub scopes: Vec<Scope>,
    /// The scopes that were granted, as Entra tells them: other words for the same, and sometimes more.
    pub granted: Option<String>,
    /// A token for the scopes.
    pub token: AccessToken,
    /// What further tokens are got by. Persist it before the token is used. Missing if the tenant
    /// withholds `offline_access`.
    pub refresh_token: Option<Secret>,
}

/// Returns 256 unpredictable bits as 43 characters that need no escaping.
fn unguessable(entropy: &dyn Entropy) -> Secret {
    let mut bytes = [0; 32];
    entropy.fill(&mut bytes);
    Secret::new(URL_SAFE_NO_PAD.encode(bytes))
}

fn hash(secret: &Secret) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&SHA256, secret.expose().as_bytes()).as_ref());
    hash
}

#[cfg(test)]
mod tests;
