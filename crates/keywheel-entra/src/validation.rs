use keywheel_core::{CredentialError, TenantId};
use keywheel_graph::{GraphError, GraphErrorKind};
use thiserror::Error;
use uuid::Uuid;

use crate::TenantAccess;
use crate::token::Claims;

/// How a connection authenticates, which decides what is read to see that it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Method {
    /// A user signed in (authorization code): `/me` is read.
    AuthorizationCode,
    /// A certificate's assertion: the own application is read.
    Certificate,
    /// A client secret: the own application is read.
    ClientSecret,
}

/// A connection that works.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Validated {
    /// The tenant by its id: that of the token if it can be read, else that of the tenant's own answer.
    pub tenant: Option<TenantId>,
    /// What was read.
    pub read: Read,
}

/// The one harmless read.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Read {
    /// The own application's display name.
    Application(Option<String>),
    /// Graph took the token and let it read nothing: no permission is granted yet. A preflight says which
    /// one is needed.
    Nothing,
    /// The signed-in user.
    User(Option<String>),
}

/// A connection that does not work.
#[derive(Debug, Error)]
#[error("{message}")]
pub struct ValidationError {
    kind: ValidationErrorKind,
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What to do about a [`ValidationError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ValidationErrorKind {
    /// No token: correct what the message names, the secret, the certificate, the tenant.
    Credential,
    /// The token is another application's. Give this one's credential.
    OtherApplication,
    /// The token is another tenant's. Correct the tenant, or sign in with an account of it.
    OtherTenant,
    /// Graph does not take the token, or the read makes no sense. Check the cloud.
    Refused,
    /// Entra or Graph is in trouble. Try again.
    Unavailable,
}

impl ValidationError {
    fn new(kind: ValidationErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    fn credential(error: CredentialError) -> Self {
        let kind = if error.is_transient() {
            ValidationErrorKind::Unavailable
        } else {
            ValidationErrorKind::Credential
        };
        Self {
            source: Some(Box::new(error)),
            ..Self::new(kind, "the connection gets no token")
        }
    }

    fn graph(error: GraphError) -> Self {
        let kind = match error.kind() {
            GraphErrorKind::Credential if !error.is_transient() => ValidationErrorKind::Credential,
            _ if error.is_transient() => ValidationErrorKind::Unavailable,
            _ => ValidationErrorKind::Refused,
        };
        Self {
            source: Some(Box::new(error)),
            ..Self::new(
                kind,
                "the connection gets a token, but Microsoft Graph can't be read with it",
            )
        }
    }

    /// Returns what to do about it.
    #[must_use]
    pub fn kind(&self) -> ValidationErrorKind {
        self.kind
    }

    /// Tells whether the same connection may work later with nothing changed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.kind {
            ValidationErrorKind::Unavailable => true,
            ValidationErrorKind::Credential
            | ValidationErrorKind::OtherApplication
            | ValidationErrorKind::OtherTenant
            | ValidationErrorKind::Refused => false,
        }
    }
}

impl TenantAccess {
    /// Checks that the connection works: a token of this tenant and application, and one harmless read.
    ///
    /// Which client secret it is, and whether a key id fits it, is checked where a rotation is enabled.
    ///
    /// # Errors
    ///
    /// See [`ValidationErrorKind`]; the message and its sources name the AADSTS or Graph code.
    pub async fn validate(&self, method: Method) -> Result<Validated, ValidationError> {
        let token = self.token().await.map_err(ValidationError::credential)?;
        let claims = Claims::read(&token);
        self.is_ours(&claims)?;
        let read = match method {
            Method::AuthorizationCode => self.read_user().await?,
            Method::Certificate | Method::ClientSecret => self.read_application().await?,
        };
        let tenant = match claims.tid {
            Some(id) => Some(id),
            None => self.tenant_by_its_own_answer().await?,
        };
        Ok(Validated {
            tenant: tenant.and_then(|id| id.to_string().parse().ok()),
            read,
        })
    }

    fn is_ours(&self, claims: &Claims) -> Result<(), ValidationError> {
        check_tenant(&self.tenant, claims)?;
        if let Some(other) = claims.appid.filter(|id| *id != self.client) {
            return Err(ValidationError::new(
                ValidationErrorKind::OtherApplication,
                format!(
                    "the token belongs to the application {other}, not to {}; give that application's \
                     credential",
                    self.client
                ),
            ));
        }
        Ok(())
    }

    async fn read_application(&self) -> Result<Read, ValidationError> {
        let graph = self.graph();
        let application = graph.application(self.client);
        match application.get_with(&["id", "appId", "displayName"]).await {
            Ok(application) => Ok(Read::Application(application.display_name)),
            // Of a multi-tenant application the tenant may hold only the service principal.
            Err(error) if is_no_right(error.kind()) => Ok(Read::Nothing),
            Err(error) => Err(ValidationError::graph(error)),
        }
    }

    async fn read_user(&self) -> Result<Read, ValidationError> {
        match self.graph().me().await {
            Ok(user) => Ok(Read::User(user.user_principal_name)),
            Err(error) if error.kind() == GraphErrorKind::Forbidden => Ok(Read::Nothing),
            Err(error) => Err(ValidationError::graph(error)),
        }
    }

    /// A token that can't be read is believed when the tenant says who it is.
    async fn tenant_by_its_own_answer(&self) -> Result<Option<Uuid>, ValidationError> {
        let organization = match self.graph().organization().await {
            Ok(organization) => organization,
            Err(error) if is_no_right(error.kind()) => return Ok(None),
            Err(error) => return Err(ValidationError::graph(error)),
        };
        if organization.is(&self.tenant) {
            return Ok(organization.id.guid());
        }
        Err(other_tenant(&self.tenant, &organization.id.to_string()))
    }
}

/// Compares the tenant of a token with the one asked for. A domain can't be compared.
pub(crate) fn check_tenant(tenant: &TenantId, claims: &Claims) -> Result<(), ValidationError> {
    match (tenant.guid(), claims.tid) {
        (Some(asked), Some(got)) if asked != got => Err(other_tenant(tenant, &got.to_string())),
        _ => Ok(()),
    }
}

fn other_tenant(asked: &TenantId, got: &str) -> ValidationError {
    ValidationError::new(
        ValidationErrorKind::OtherTenant,
        format!(
            "the token belongs to the tenant {got}, not to {asked}; correct the tenant, or sign in with an \
             account of it"
        ),
    )
}

fn is_no_right(kind: GraphErrorKind) -> bool {
    matches!(kind, GraphErrorKind::Forbidden | GraphErrorKind::NotFound)
}
