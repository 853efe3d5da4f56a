use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use keywheel_core::{
    AccessToken, CredentialError, CredentialErrorKind, TokenCredential, TokenRequest,
};

/// Asks several credentials in turn, until one is set up here.
///
/// For code that runs in several places: in Kubernetes by workload identity, on a virtual machine by its
/// managed identity, at home by a secret. The parts and their order are yours; nothing is guessed from
/// the environment.
///
/// A part that is [`NotConfigured`](CredentialErrorKind::NotConfigured) passes to the next. Any other
/// outcome is the chain's, because a part that is set up and refused should be put right rather than
/// passed over. Once a part gave a token, only that part is asked. Clones share that.
///
/// ```
/// use keywheel_core::{HttpSend, TokenCredential};
/// use keywheel_credentials::{
///     AssertionFile, ClientAssertionCredential, CredentialChain, ManagedIdentity, ManagedIdentityCredential,
/// };
///
/// fn chain(workload: ClientAssertionCredential, http: impl HttpSend + 'static) -> impl TokenCredential {
///     CredentialChain::of(workload).or(ManagedIdentityCredential::new(http, ManagedIdentity::imds()))
/// }
/// ```
#[derive(Clone, Debug)]
pub struct CredentialChain {
    parts: Vec<Arc<dyn TokenCredential>>,
    /// The part that gave a token, or [`UNDECIDED`].
    chosen: Arc<AtomicUsize>,
}

const UNDECIDED: usize = usize::MAX;

impl CredentialChain {
    /// Returns a chain that asks `first` first.
    #[must_use]
    pub fn of(first: impl TokenCredential + 'static) -> Self {
        Self {
            parts: vec![Arc::new(first)],
            chosen: Arc::new(AtomicUsize::new(UNDECIDED)),
        }
    }

    /// Adds a credential to ask after the others.
    #[must_use]
    pub fn or(mut self, next: impl TokenCredential + 'static) -> Self {
        self.parts.push(Arc::new(next));
        self
    }

    fn chosen(&self) -> Option<&Arc<dyn TokenCredential>> {
        self.parts.get(self.chosen.load(Ordering::Relaxed))
    }
}

#[async_trait]
impl TokenCredential for CredentialChain {
    async fn get_token(&self, request: &TokenRequest) -> Result<AccessToken, CredentialError> {
        if let Some(chosen) = self.chosen() {
            return chosen.get_token(request).await;
        }
        let mut reasons = Vec::new();
        for (index, part) in self.parts.iter().enumerate() {
            match part.get_token(request).await {
                Ok(token) => {
                    self.chosen.store(index, Ordering::Relaxed);
                    return Ok(token);
                }
                Err(error) if error.kind() == CredentialErrorKind::NotConfigured => {
                    reasons.push(error.to_string());
                }
                Err(error) => return Err(error),
            }
        }
        let message = format!(
            "no credential of the chain is set up here: {}",
            reasons.join("; ")
        );
        Err(CredentialError::new(
            CredentialErrorKind::NotConfigured,
            message,
        ))
    }

    fn cached_token(&self, request: &TokenRequest) -> Option<AccessToken> {
        self.chosen()?.cached_token(request)
    }
}

#[cfg(test)]
mod tests {
    use keywheel_core::{MockTokenCredential, Secret};

    use super::*;
    use crate::test_support::{graph, noon};

    fn failing(kind: CredentialErrorKind, times: usize) -> MockTokenCredential {
        let mut part = MockTokenCredential::new();
        part.expect_get_token()
            .times(times)
            .returning(move |_| Err(CredentialError::new(kind, format!("{kind:?}: look"))));
        part
    }

    fn giving(times: usize) -> MockTokenCredential {
        let mut part = MockTokenCredential::new();
        part.expect_get_token().times(times).returning(|_| {
            let end = noon() + chrono::TimeDelta::hours(1);
            Ok(AccessToken::new(Secret::new("t"), noon(), end))
        });
        part.expect_cached_token().returning(|_| None);
        part
    }

    #[tokio::test]
    async fn the_first_that_is_set_up_is_asked_from_then_on() {
        let chain = CredentialChain::of(failing(CredentialErrorKind::NotConfigured, 1))
            .or(giving(2))
            .or(giving(0));
        let handle = chain.clone();

        assert!(chain.cached_token(&graph()).is_none());
        assert!(chain.get_token(&graph()).await.is_ok());
        assert!(handle.get_token(&graph()).await.is_ok());
    }

    #[tokio::test]
    async fn a_part_that_is_refused_is_not_passed_over() {
        for kind in [
            CredentialErrorKind::InvalidClient,
            CredentialErrorKind::Denied,
            CredentialErrorKind::Transport,
        ] {
            let chain = CredentialChain::of(failing(kind, 1)).or(giving(0));

            let error = chain.get_token(&graph()).await.unwrap_err();
            assert_eq!(error.kind(), kind);
        }
    }

    #[tokio::test]
    async fn a_chain_without_a_part_that_is_set_up_tells_about_each() {
        let absent = CredentialErrorKind::NotConfigured;
        let chain = CredentialChain::of(failing(absent, 1)).or(failing(absent, 1));

        let error = chain.get_token(&graph()).await.unwrap_err();

        assert_eq!(error.kind(), absent);
        let message = error.to_string();
        assert_eq!(message.matches("look").count(), 2, "{message}");
    }
}
