//! Our credentials in the Azure SDK for Rust.

use std::fmt::Debug;

use async_trait::async_trait;
use azure_core::credentials::{AccessToken, TokenCredential, TokenRequestOptions};
use azure_core::error::ErrorKind;
use azure_core::time::OffsetDateTime;
use keywheel_core::{
    CredentialError, CredentialErrorKind, Scope, TokenCredential as Credential, TokenRequest,
};

use crate::chain::CredentialChain;
use crate::client_secret::ClientSecretCredential;
use crate::federated::ClientAssertionCredential;
use crate::managed_identity::ManagedIdentityCredential;

/// Lets clients of the Azure SDK use any credential, that of a connection too.
///
/// The credentials of this crate are taken by those clients as they are; this is for what other crates
/// give out, such as an `Arc<dyn TokenCredential>`.
///
/// ```
/// use std::sync::Arc;
///
/// use keywheel_core::TokenCredential;
/// use keywheel_credentials::AzureSdkCredential;
///
/// fn hand_over(connection: Arc<dyn TokenCredential>) -> Arc<dyn azure_core::credentials::TokenCredential> {
///     Arc::new(AzureSdkCredential::new(connection))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct AzureSdkCredential<T>(T);

impl<T: Credential> AzureSdkCredential<T> {
    /// Wraps `credential`.
    pub fn new(credential: T) -> Self {
        Self(credential)
    }
}

#[async_trait]
impl<T: Credential> TokenCredential for AzureSdkCredential<T> {
    async fn get_token(
        &self,
        scopes: &[&str],
        _: Option<TokenRequestOptions<'_>>,
    ) -> azure_core::Result<AccessToken> {
        get_token(&self.0, scopes).await
    }
}

macro_rules! taken_as_they_are {
    ($($(#[$cfg:meta])* $credential:path,)*) => {
        $($(#[$cfg])*
        #[async_trait]
        impl TokenCredential for $credential {
            async fn get_token(
                &self,
                scopes: &[&str],
                _: Option<TokenRequestOptions<'_>>,
            ) -> azure_core::Result<AccessToken> {
                get_token(self, scopes).await
            }
        })*
    };
}

taken_as_they_are! {
    #[cfg(feature = "certificate")]
    crate::certificate_credential::CertificateCredential,
    ClientAssertionCredential,
    ClientSecretCredential,
    CredentialChain,
    ManagedIdentityCredential,
    #[cfg(feature = "authorization-code")]
    crate::refresh_token::RefreshTokenCredential,
}

async fn get_token(
    credential: &(impl Credential + ?Sized),
    scopes: &[&str],
) -> azure_core::Result<AccessToken> {
    let request = request(scopes).map_err(refused)?;
    let token = credential.get_token(&request).await.map_err(refused)?;
    let expires_on = OffsetDateTime::from_unix_timestamp(token.expires_on.timestamp())
        .map_err(|error| azure_core::Error::new(ErrorKind::DataConversion, error))?;
    // The SDK keeps a copy of its own, which it doesn't overwrite.
    Ok(AccessToken::new(
        token.token.expose().to_owned(),
        expires_on,
    ))
}

fn request(scopes: &[&str]) -> Result<TokenRequest, CredentialError> {
    let mut parsed = Vec::with_capacity(scopes.len());
    for scope in scopes {
        parsed.push(scope.parse::<Scope>().map_err(invalid)?);
    }
    let mut parsed = parsed.into_iter();
    let first = parsed.next().ok_or_else(|| {
        let message = "the client of the Azure SDK asked for no scope: report it to its authors";
        CredentialError::new(CredentialErrorKind::InvalidConfiguration, message)
    })?;
    let mut request = TokenRequest::new(first);
    request.scopes.extend(parsed);
    Ok(request)
}

fn invalid(error: keywheel_core::InvalidScope) -> CredentialError {
    let message =
        "the client of the Azure SDK asked for a scope that is none: check how it was built";
    CredentialError::new(CredentialErrorKind::InvalidConfiguration, message).with_source(error)
}

/// The SDK's error has ours in it: `get_ref` and `downcast_ref` give it back with codes and advice.
fn refused(error: CredentialError) -> azure_core::Error {
    let message = error.to_string();
    azure_core::Error::with_error(ErrorKind::Credential, error, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use keywheel_core::Report;

    use super::*;
    use crate::test_support::{Fields, Service, client_id, granted, noon, refused as refusal};

    const VAULT: &str = "https://vault.azure.net/.default";

    fn secret() -> keywheel_core::ClientSecret {
        keywheel_core::ClientSecret::new(keywheel_core::Secret::new("kq~8Q~made-up")).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_of_the_sdk_gets_the_token_for_its_scope_and_when_it_ends() {
        let service = Service::new(|_: usize, form: &Fields| granted(form.get("scope")));
        let ours = ClientSecretCredential::new(service.endpoint(), client_id(), secret());
        let wrapped: Arc<dyn Credential> = Arc::new(ours.clone());
        let theirs: [Arc<dyn TokenCredential>; 2] =
            [Arc::new(ours), Arc::new(AzureSdkCredential::new(wrapped))];

        for credential in theirs {
            let token = credential.get_token(&[VAULT], None).await.unwrap();

            assert_eq!(token.token.secret(), VAULT);
            let left = token.expires_on.unix_timestamp() - noon().timestamp();
            assert_eq!(left, 3599);
        }
        assert_eq!(service.count(), 1, "one cache");
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_keeps_its_code_and_advice_in_the_sdks() {
        let service = Service::new(|_: usize, _: &Fields| refusal("invalid_client", 7_000_222));
        let ours = ClientSecretCredential::new(service.endpoint(), client_id(), secret());

        let error = TokenCredential::get_token(&ours, &[VAULT], None)
            .await
            .unwrap_err();

        assert!(matches!(error.kind(), ErrorKind::Credential));
        assert!(error.to_string().contains("AADSTS7000222"), "{error}");
        let inner = error.downcast_ref::<CredentialError>().unwrap();
        assert_eq!(inner.aadsts_codes(), [7_000_222]);
    }

    #[tokio::test(start_paused = true)]
    async fn no_scope_and_no_scope_at_all_are_told_before_anything_is_sent() {
        let service = Service::new(|_: usize, _: &Fields| granted("t"));
        let ours = ClientSecretCredential::new(service.endpoint(), client_id(), secret());

        for scopes in [&[][..], &["two words"]] {
            let error = TokenCredential::get_token(&ours, scopes, None).await;
            let error = error.unwrap_err();
            assert!(Report(&error).to_string().contains("scope"), "{error}");
        }
        assert_eq!(service.count(), 0);
    }
}
