use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use keywheel_core::{CredentialError, Secret};

use crate::token_endpoint::TokenEndpoint;

/// Proves an application by a signed statement instead of a secret (RFC 7523, section 2.2).
///
/// A certificate's key makes such statements, and so does every issuer that a federated credential of
/// the application trusts. Implement it for keys that live elsewhere: in an HSM, in Key Vault.
///
/// # Contract
///
/// * Each call gives a statement that is valid now and for some minutes. It is asked for once for each
///   request that is sent, so that none is presented twice unless its issuer reuses it.
/// * Errors go to the caller of `get_token` as they are; transient ones are tried again.
#[async_trait]
pub trait ClientAssertion: Debug + Send + Sync {
    /// Returns a JWT that `endpoint` will accept.
    ///
    /// One that the application signs itself has [`endpoint.url()`](TokenEndpoint::url) for its audience,
    /// and is made at [`endpoint.assertion_time()`](TokenEndpoint::assertion_time);
    /// one of another issuer the cloud's [`exchange_audience`](keywheel_core::Cloud::exchange_audience).
    ///
    /// # Errors
    ///
    /// Returns an error when there is no statement to be had.
    async fn assertion(&self, endpoint: &TokenEndpoint) -> Result<Secret, CredentialError>;
}

#[async_trait]
impl<T: ClientAssertion + ?Sized> ClientAssertion for Arc<T> {
    async fn assertion(&self, endpoint: &TokenEndpoint) -> Result<Secret, CredentialError> {
        (**self).assertion(endpoint).await
    }
}
