use std::borrow::Cow;

use aws_lc_rs::constant_time;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::{ClientId, Scope, Secret, TenantId};
use serde::{Deserialize, Serialize};
use url::Url;

use super::callback::Callback;
use super::error::AuthorizationError;
use super::redirect_uri::RedirectUri;
use super::request::AuthorizationRequest;
use super::seal::{self, SealKey, UnsealError};
use super::{OWN_SCOPES, hash, unguessable};
use crate::client::ConfidentialClient;

/// A sign-in that was begun and waits for the browser to come back.
///
/// It is good once and for 15 minutes: Entra's code lives for ten, and the user needs some to sign in.
/// Keep it where only this user's browser session leads to. Where the answer may reach another replica,
/// keep it sealed: [`seal`](Self::seal).
#[derive(Clone, Debug)]
pub struct PendingAuthorization {
    client: ClientId,
    tenant: TenantId,
    redirect_uri: RedirectUri,
    scopes: Vec<Scope>,
    state: Secret,
    nonce: Secret,
    verifier: Secret,
    expires_on: DateTime<Utc>,
}

const LIFETIME: TimeDelta = TimeDelta::minutes(15);

const SEALED_AS: &str = "keywheel pending authorization 1";

impl PendingAuthorization {
    pub(super) fn new(
        client: &ConfidentialClient,
        redirect_uri: &RedirectUri,
        scopes: &[Scope],
    ) -> Self {
        let endpoint = client.endpoint();
        let entropy = endpoint.entropy();
        Self {
            client: client.id(),
            tenant: endpoint.tenant().clone(),
            redirect_uri: redirect_uri.clone(),
            scopes: scopes.to_vec(),
            state: unguessable(entropy),
            nonce: unguessable(entropy),
            verifier: unguessable(entropy),
            expires_on: endpoint.clock().now() + LIFETIME,
        }
    }

    /// Returns where to send the browser: `authorize` with what was asked for.
    pub(super) fn url(&self, mut authorize: Url, request: &AuthorizationRequest) -> Url {
        let challenge = URL_SAFE_NO_PAD.encode(hash(&self.verifier));
        let scopes = self.scopes.iter().map(Scope::as_str);
        let scopes: Vec<_> = OWN_SCOPES.into_iter().chain(scopes).collect();
        let mut query = authorize.query_pairs_mut();
        query
            .append_pair("client_id", &self.client.to_string())
            .append_pair("response_type", "code")
            .append_pair("response_mode", "query")
            .append_pair("redirect_uri", self.redirect_uri.as_str())
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", self.state.expose())
            .append_pair("nonce", self.nonce.expose())
            .append_pair("code_challenge", &challenge)
            .append_pair("code_challenge_method", "S256");
        let options = [
            ("prompt", request.prompt.map(super::Prompt::as_str)),
            ("login_hint", request.login_hint.as_deref()),
            ("domain_hint", request.domain_hint.as_deref()),
        ];
        for (name, value) in options {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        drop(query);
        authorize
    }

    /// Returns the value that comes back in [`Callback::state`], by which to find this sign-in again.
    #[must_use]
    pub fn state(&self) -> &Secret {
        &self.state
    }

    /// Returns when it is too late to complete.
    #[must_use]
    pub fn expires_on(&self) -> DateTime<Utc> {
        self.expires_on
    }

    /// Encrypts the sign-in, for a cookie or a store that replicas share: 500 to 900 characters, plain in
    /// URLs and cookies.
    #[must_use]
    pub fn seal(&self, key: &SealKey) -> String {
        let stored = Stored {
            client: self.client,
            tenant: Cow::Borrowed(&self.tenant),
            redirect_uri: self.redirect_uri.as_str().into(),
            scopes: self.scopes.iter().map(ToString::to_string).collect(),
            state: self.state.expose().into(),
            nonce: self.nonce.expose().into(),
            verifier: self.verifier.expose().into(),
            expires_on: self.expires_on.timestamp_micros(),
        };
        seal::seal(key, SEALED_AS, &stored)
    }

    /// Decrypts what [`seal`](Self::seal) gave, on any replica that has the key.
    ///
    /// # Errors
    ///
    /// Returns an error when the text was changed, or sealed under another key.
    pub fn unseal(sealed: &str, key: &SealKey) -> Result<Self, UnsealError> {
        let stored: Stored<'_> = seal::unseal(key, SEALED_AS, sealed)?;
        let redirect_uri =
            RedirectUri::new(stored.redirect_uri.into_owned()).map_err(|_| UnsealError)?;
        let scopes = stored.scopes.iter().map(|scope| scope.parse());
        Ok(Self {
            client: stored.client,
            tenant: stored.tenant.into_owned(),
            redirect_uri,
            scopes: scopes.collect::<Result<_, _>>().map_err(|_| UnsealError)?,
            state: Secret::new(stored.state),
            nonce: Secret::new(stored.nonce),
            verifier: Secret::new(stored.verifier),
            expires_on: DateTime::from_timestamp_micros(stored.expires_on).ok_or(UnsealError)?,
        })
    }

    pub(super) fn scopes(&self) -> &[Scope] {
        &self.scopes
    }

    pub(super) fn nonce(&self) -> &Secret {
        &self.nonce
    }

    pub(super) fn verifier(&self) -> &Secret {
        &self.verifier
    }

    /// A sign-in that another application, tenant or address began is none of ours.
    pub(super) fn check_owner(
        &self,
        client: &ConfidentialClient,
        redirect_uri: &RedirectUri,
    ) -> Result<(), AuthorizationError> {
        let ours = self.client == client.id()
            && self.tenant == *client.endpoint().tenant()
            && self.redirect_uri == *redirect_uri;
        if ours {
            Ok(())
        } else {
            Err(AuthorizationError::foreign())
        }
    }

    pub(super) fn check_state(&self, callback: &Callback) -> Result<(), AuthorizationError> {
        check_state(&self.state, callback)
    }
}

pub(super) fn check_state(state: &Secret, callback: &Callback) -> Result<(), AuthorizationError> {
    let came = callback.state().expose().as_bytes();
    constant_time::verify_slices_are_equal(state.expose().as_bytes(), came)
        .map_err(|_| AuthorizationError::foreign())
}

/// What is sealed: borrowed on the way in, moved on the way out, never copied.
#[derive(Serialize, Deserialize)]
struct Stored<'a> {
    client: ClientId,
    tenant: Cow<'a, TenantId>,
    redirect_uri: Cow<'a, str>,
    scopes: Vec<String>,
    state: Cow<'a, str>,
    nonce: Cow<'a, str>,
    verifier: Cow<'a, str>,
    expires_on: i64,
}
