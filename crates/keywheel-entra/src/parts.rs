use std::fmt;
use std::sync::Arc;

use keywheel_connection::{
    ConnectionId, ConnectionStore, SealContext, SealError, Sealed, Sealer, StoreError, Versioned,
};
use keywheel_core::{
    Clock, Cloud, CredentialError, CredentialErrorKind, Entropy, HttpSend, Secret, TenantId,
};
use keywheel_credentials::TokenEndpoint;

use crate::SignInApplication;

/// What stored connections need in order to reach Entra. Clones share it.
#[derive(Clone)]
#[expect(
    clippy::exhaustive_structs,
    reason = "whoever wires the parts has to name each"
)]
pub struct EntraParts {
    /// Where connections are stored.
    pub store: Arc<dyn ConnectionStore>,
    /// What opens what they have sealed.
    pub sealer: Arc<dyn Sealer>,
    /// What sends requests.
    pub http: Arc<dyn HttpSend>,
    /// What tells the time.
    pub clock: Arc<dyn Clock>,
    /// Where random bytes come from.
    pub entropy: Arc<dyn Entropy>,
    /// The application that users sign in to; `None` where no connection is by authorization code.
    pub sign_in: Option<SignInApplication>,
}

impl EntraParts {
    pub(crate) fn endpoint(&self, cloud: &Cloud, tenant: &TenantId) -> TokenEndpoint {
        TokenEndpoint::new(Arc::clone(&self.http), cloud, tenant)
            .with_clock(Arc::clone(&self.clock))
            .with_entropy(Arc::clone(&self.entropy))
    }

    pub(crate) async fn load(&self, id: ConnectionId) -> Result<Versioned, CredentialError> {
        let stored = self.store.load(id).await.map_err(from_store)?;
        stored.ok_or_else(|| from_store(StoreError::not_found()))
    }

    pub(crate) async fn open(
        &self,
        sealed: &Sealed,
        context: &SealContext<'_>,
    ) -> Result<Secret, CredentialError> {
        self.sealer.open(sealed, context).await.map_err(from_seal)
    }

    pub(crate) async fn seal(
        &self,
        secret: &Secret,
        context: &SealContext<'_>,
    ) -> Result<Sealed, CredentialError> {
        self.sealer.seal(secret, context).await.map_err(from_seal)
    }
}

impl fmt::Debug for EntraParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntraParts").finish_non_exhaustive()
    }
}

/// An error in what was configured or given, which the same call will meet again.
pub(crate) fn invalid(message: impl Into<String>) -> CredentialError {
    CredentialError::new(CredentialErrorKind::InvalidConfiguration, message)
}

pub(crate) fn from_store(error: StoreError) -> CredentialError {
    let kind = kind(error.is_transient());
    CredentialError::new(kind, error.to_string()).with_source(error)
}

fn from_seal(error: SealError) -> CredentialError {
    let kind = kind(error.is_transient());
    CredentialError::new(kind, error.to_string()).with_source(error)
}

fn kind(transient: bool) -> CredentialErrorKind {
    if transient {
        CredentialErrorKind::Unavailable
    } else {
        CredentialErrorKind::InvalidConfiguration
    }
}
