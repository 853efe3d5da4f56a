use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use keywheel_connection::{
    Access, CredentialIssuer, Inspection, IssuerError, IssuerErrorKind, Listed, Marker, Minted,
    Proof, Removal,
};
use keywheel_core::{ClientSecret, Clock, Entropy, HttpSend, KeyId, TokenRequest};
use keywheel_credentials::prove_secret;
use keywheel_graph::{Application, NewPassword, PasswordCredential, Refusal, TrafficLimits};

use crate::session::{Session, Sessions};
use crate::token::Claims;
use crate::validation::check_tenant;
use crate::{TenantAccess, refusal};

/// The [`CredentialIssuer`] over Entra's token endpoint and Microsoft Graph.
///
/// One serves any number of connections, in any cloud, and manages through those by client secret or
/// certificate. The application is addressed by its client id, so
/// that neither its object id nor a listing is needed. Calls use the token of the newest proof while it
/// is valid, and fall back to the previous secret when the current one is refused.
#[derive(Clone, Debug)]
pub struct EntraIssuer(Arc<Sessions>);

impl EntraIssuer {
    /// Returns an issuer.
    #[must_use]
    pub fn new(http: Arc<dyn HttpSend>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self(Arc::new(Sessions::new(http, clock, entropy)))
    }

    /// Sets how much one application may ask of one tenant. Default: [`TrafficLimits::default`].
    #[must_use]
    pub fn with_limits(self, limits: TrafficLimits) -> Self {
        Self(Arc::new(self.0.with_limits(limits)))
    }

    /// Returns the access of the connection that authenticates, to be looked at.
    pub(crate) fn access(&self, access: &Access<'_>) -> Result<TenantAccess, IssuerError> {
        self.0
            .access(access)
            .map_err(|error| refusal::credential(&error))
    }

    fn session(&self, access: &Access<'_>) -> Result<Session, IssuerError> {
        self.0
            .get(access)
            .map_err(|error| refusal::credential(&error))
    }
}

#[async_trait]
impl CredentialIssuer for EntraIssuer {
    async fn prove(&self, access: &Access<'_>) -> Result<Proof, IssuerError> {
        let connection = access.by;
        if connection.secrets().is_none() {
            // What it would send is the private key of a certificate.
            return Err(IssuerError::new(
                IssuerErrorKind::Invalid,
                "only a client secret is proven; the connection authenticates otherwise",
            ));
        }
        let secret = ClientSecret::new(access.secret.clone())
            .map_err(|error| IssuerError::new(IssuerErrorKind::Invalid, error.to_string()))?;
        let request = TokenRequest::new(connection.cloud.graph_scope());
        let http = self.0.watched();
        let endpoint = self.0.endpoint(http.clone(), access);
        let proven = prove_secret(&endpoint, connection.client, &secret, &request).await;
        let token = proven.map_err(|error| refusal::credential(&error))?;
        check_tenant(&connection.tenant, &Claims::read(&token))
            .map_err(|error| IssuerError::new(IssuerErrorKind::Invalid, error.to_string()))?;
        self.0
            .seed(access, token)
            .map_err(|error| refusal::credential(&error))?;
        Ok(Proof::new(http.date()))
    }

    async fn inspect(&self, access: &Access<'_>) -> Result<Inspection, IssuerError> {
        let session = self.session(access)?;
        let application = session.graph.application(access.connection.client);
        application
            .get()
            .await
            .map(inspection)
            .map_err(|error| refusal::graph(&error))
    }

    async fn mint(
        &self,
        access: &Access<'_>,
        marker: &Marker,
        end: DateTime<Utc>,
    ) -> Result<Minted, IssuerError> {
        let session = self.session(access)?;
        let application = session.graph.application(access.connection.client);
        let password = NewPassword::new(marker.to_string(), end);
        let added = application.add_password(&password).await;
        minted(added.map_err(|error| refusal::graph(&error))?)
    }

    async fn remove(&self, access: &Access<'_>, key_id: &KeyId) -> Result<Removal, IssuerError> {
        let session = self.session(access)?;
        let application = session.graph.application(access.connection.client);
        let removal = match application.remove_password(key_id).await {
            Ok(()) => Removal::Removed,
            Err(error) if error.refusal() == Some(Refusal::UnknownKey) => Removal::NotFound,
            Err(error) => return Err(refusal::graph(&error)),
        };
        // It may be the previous secret of what is open: what is revoked is not kept in memory.
        self.0.forget(access.connection.id);
        Ok(removal)
    }
}

/// An answer without key id or secret leaves a secret that nobody holds.
fn minted(added: PasswordCredential) -> Result<Minted, IssuerError> {
    match (added.key_id, added.secret_text) {
        (Some(key_id), Some(secret)) => Ok(Minted::new(key_id, secret, added.end_date_time)),
        _ => Err(IssuerError::new(
            IssuerErrorKind::Unknown,
            "Microsoft Graph's answer to addPassword lacks the key id or the secret; what it added is looked \
             for and removed",
        )),
    }
}

fn inspection(application: Application) -> Inspection {
    let limit = application.secret_limit();
    let secrets = application.password_credentials.into_iter().map(listed);
    Inspection::new(application.id, secrets.collect()).with_secret_limit(limit)
}

fn listed(secret: PasswordCredential) -> Listed {
    Listed::new(secret.key_id, secret.display_name).with(secret.hint, secret.end_date_time)
}
