use std::fmt;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use keywheel_core::{
    AccessToken, ClientId, CredentialError, CredentialErrorKind, Secret, TokenCredential,
    TokenRequest,
};

use crate::assertion::ClientAssertion;
use crate::client::ConfidentialClient;
use crate::token_cache::TokenCache;
use crate::token_endpoint::TokenEndpoint;

/// Gets an application's tokens by statements of another issuer, or of a key that lives elsewhere.
///
/// With a federated identity credential on the application this is *workload identity*: there is no
/// secret that could leak or expire. Kubernetes keeps a statement in a file ([`AssertionFile`]), CI
/// services give one out on request ([`AssertionCallback`]).
/// See <https://learn.microsoft.com/entra/workload-id/workload-identity-federation>.
///
/// ```
/// use keywheel_core::{Cloud, HttpSend};
/// use keywheel_credentials::{AssertionFile, ClientAssertionCredential, TokenEndpoint};
///
/// fn connect(http: impl HttpSend + 'static) -> Result<ClientAssertionCredential, Box<dyn std::error::Error>> {
///     let endpoint = TokenEndpoint::new(http, &Cloud::public(), &"contoso.onmicrosoft.com".parse()?);
///     let client = "11111111-2222-3333-4444-555555555555".parse()?;
///     let file = AssertionFile::new("/var/run/secrets/azure/tokens/azure-identity-token");
///     Ok(ClientAssertionCredential::new(endpoint, client, file))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct ClientAssertionCredential {
    tokens: TokenCache<ConfidentialClient>,
}

impl ClientAssertionCredential {
    /// Returns the credential of the application `client`.
    #[must_use]
    pub fn new(
        endpoint: TokenEndpoint,
        client: ClientId,
        assertion: impl ClientAssertion + 'static,
    ) -> Self {
        let clock = Arc::clone(endpoint.clock());
        let client = ConfidentialClient::with_assertion(endpoint, client, Arc::new(assertion));
        Self {
            tokens: TokenCache::new(client, &clock),
        }
    }

    /// Returns the application, for flows in which a user takes part.
    #[must_use]
    pub fn client(&self) -> ConfidentialClient {
        self.tokens.source().clone()
    }
}

#[async_trait]
impl TokenCredential for ClientAssertionCredential {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        self.tokens.get(request).await
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.tokens.cached(request)
    }
}

/// A statement that another process keeps fresh in a file, as Kubernetes does.
///
/// The file is read for every request, since it changes under a running process.
#[derive(Clone, Debug)]
pub struct AssertionFile(PathBuf);

impl AssertionFile {
    /// Returns the statement in the file at `path`: what `AZURE_FEDERATED_TOKEN_FILE` names.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }
}

#[async_trait]
impl ClientAssertion for AssertionFile {
    async fn assertion(&self, _: &TokenEndpoint) -> Result<Secret, CredentialError> {
        let path = self.0.clone();
        let read = tokio::task::spawn_blocking(move || std::fs::read_to_string(path));
        let text = match read.await {
            Ok(Ok(text)) => Secret::new(text),
            Ok(Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                return Err(unreadable(&self.0, CredentialErrorKind::NotConfigured));
            }
            Ok(Err(error)) => return Err(invalid(&self.0).with_source(error)),
            Err(error) => return Err(invalid(&self.0).with_source(error)),
        };
        let jwt = text.expose().trim();
        if jwt.split('.').count() == 3 && jwt.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(Secret::new(jwt))
        } else {
            Err(invalid(&self.0))
        }
    }
}

fn invalid(path: &Path) -> CredentialError {
    unreadable(path, CredentialErrorKind::InvalidConfiguration)
}

fn unreadable(path: &Path, kind: CredentialErrorKind) -> CredentialError {
    let message = format!(
        "no JWT can be read from {}: check the path, its rights, and the platform that writes it",
        path.display()
    );
    CredentialError::new(kind, message)
}

/// A statement that a function gives.
///
/// ```
/// use keywheel_core::{CredentialError, Secret};
/// use keywheel_credentials::AssertionCallback;
///
/// async fn ask_the_platform(audience: String) -> Result<Secret, CredentialError> {
///     // ...
/// #   Ok(Secret::new("header.claims.signature"))
/// }
///
/// let assertion = AssertionCallback::new(ask_the_platform);
/// ```
#[derive(Clone)]
pub struct AssertionCallback(Arc<Callback>);

type Callback = dyn Fn(String) -> BoxFuture<'static, Result<Secret, CredentialError>> + Send + Sync;

impl AssertionCallback {
    /// Calls `callback` for every statement, with the audience that the federated identity credentials of
    /// the cloud have, as in `api://AzureADTokenExchange`.
    #[must_use]
    pub fn new<F, R>(callback: F) -> Self
    where
        F: Fn(String) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Secret, CredentialError>> + Send + 'static,
    {
        Self(Arc::new(move |audience| callback(audience).boxed()))
    }
}

#[async_trait]
impl ClientAssertion for AssertionCallback {
    async fn assertion(&self, endpoint: &TokenEndpoint) -> Result<Secret, CredentialError> {
        let audience = endpoint.cloud().exchange_audience().to_owned();
        (self.0)(audience).await
    }
}

impl fmt::Debug for AssertionCallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AssertionCallback")
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use keywheel_core::Cloud;

    use super::*;
    use crate::test_support::{Fields, Service, client_id, granted, graph};

    #[tokio::test(start_paused = true)]
    async fn a_file_that_changes_is_read_again() {
        let service = Service::new(|_: usize, form: &Fields| {
            granted(&format!("by-{}", form.get("client_assertion")))
        });
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("token");
        let file = AssertionFile::new(&path);
        let credential = ClientAssertionCredential::new(service.endpoint(), client_id(), file);

        fs::write(&path, "one.one.one\n").unwrap();
        let first = credential.get_token(&graph()).await.unwrap();
        assert_eq!(first.token.expose(), "by-one.one.one");

        fs::write(&path, "two.two.two").unwrap();
        let second = credential.get_token(&graph().rejecting(&first)).await;
        assert_eq!(second.unwrap().token.expose(), "by-two.two.two");
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_without_a_jwt_is_named() {
        let service = Service::new(|_: usize, _: &Fields| granted("t"));
        let folder = tempfile::TempDir::new().unwrap();
        for content in [None, Some(""), Some("no jwt"), Some("a.b.c d"), Some("a.b")] {
            let path = folder.path().join("token");
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            let file = AssertionFile::new(&path);
            let credential = ClientAssertionCredential::new(service.endpoint(), client_id(), file);

            let error = credential.get_token(&graph()).await.unwrap_err();
            let kind = match content {
                Some(_) => CredentialErrorKind::InvalidConfiguration,
                None => CredentialErrorKind::NotConfigured,
            };
            assert_eq!(error.kind(), kind);
            assert!(error.to_string().contains("token"), "{error}");
        }
        assert_eq!(service.count(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_callback_is_told_the_audience_of_the_cloud() {
        let service = Service::new(|_: usize, form: &Fields| granted(form.get("client_assertion")));
        let callback = AssertionCallback::new(|audience: String| async move {
            Ok(Secret::new(format!("for-{audience}")))
        });
        let china = TokenEndpoint::new(
            Arc::clone(&service),
            &Cloud::china(),
            &"contoso.cn".parse().unwrap(),
        );
        let credential = ClientAssertionCredential::new(china, client_id(), callback);

        let token = credential.get_token(&graph()).await.unwrap();

        assert_eq!(token.token.expose(), "for-api://AzureADTokenExchangeChina");
    }
}
