use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::{Scope, Secret};
use serde::{Deserialize, Serialize};
use url::Url;

use super::callback::Callback;
use super::error::AuthorizationError;
use super::pending::check_state;
use super::redirect_uri::RedirectUri;
use super::seal::{self, SealKey, UnsealError};
use super::unguessable;
use crate::client::ConfidentialClient;
use crate::token_endpoint::TokenEndpoint;

/// An administrator's consent that was begun and waits for the browser to come back, for an hour.
///
/// The answer proves nothing: anybody can write it into an address. It is the moment to get a token and
/// to look what it permits.
/// See <https://learn.microsoft.com/entra/identity-platform/v2-admin-consent>.
#[derive(Clone, Debug)]
pub struct PendingAdminConsent {
    state: Secret,
    expires_on: DateTime<Utc>,
}

const LIFETIME: TimeDelta = TimeDelta::hours(1);

const SEALED_AS: &str = "keywheel pending admin consent 1";

impl PendingAdminConsent {
    pub(super) fn new(endpoint: &TokenEndpoint) -> Self {
        Self {
            state: unguessable(endpoint.entropy()),
            expires_on: endpoint.clock().now() + LIFETIME,
        }
    }

    pub(super) fn url(
        &self,
        client: &ConfidentialClient,
        redirect_uri: &RedirectUri,
        scope: &Scope,
    ) -> Url {
        let endpoint = client.endpoint();
        let mut url = endpoint.cloud().admin_consent_endpoint(endpoint.tenant());
        url.query_pairs_mut()
            .append_pair("client_id", &client.id().to_string())
            .append_pair("scope", scope.as_str())
            .append_pair("redirect_uri", redirect_uri.as_str())
            .append_pair("state", self.state.expose());
        url
    }

    /// Returns the value that comes back in [`Callback::state`].
    #[must_use]
    pub fn state(&self) -> &Secret {
        &self.state
    }

    /// Encrypts it, for a cookie or a store that replicas share.
    #[must_use]
    pub fn seal(&self, key: &SealKey) -> String {
        let stored = Stored {
            state: self.state.expose().to_owned(),
            expires_on: self.expires_on.timestamp_micros(),
        };
        seal::seal(key, SEALED_AS, &stored)
    }

    /// Decrypts what [`seal`](Self::seal) gave.
    ///
    /// # Errors
    ///
    /// Returns an error when the text was changed, or sealed under another key.
    pub fn unseal(sealed: &str, key: &SealKey) -> Result<Self, UnsealError> {
        let stored: Stored = seal::unseal(key, SEALED_AS, sealed)?;
        Ok(Self {
            state: Secret::new(stored.state),
            expires_on: DateTime::from_timestamp_micros(stored.expires_on).ok_or(UnsealError)?,
        })
    }

    /// Reads the answer at `now`.
    ///
    /// # Errors
    ///
    /// Returns an error when the answer is not to this request or comes too late, and when the
    /// administrator or Entra refused.
    pub fn complete(
        self,
        callback: Callback,
        now: DateTime<Utc>,
    ) -> Result<(), AuthorizationError> {
        check_state(&self.state, &callback)?;
        if now >= self.expires_on {
            return Err(AuthorizationError::expired());
        }
        callback.into_consent()
    }
}

#[derive(Serialize, Deserialize)]
struct Stored {
    state: String,
    expires_on: i64,
}
