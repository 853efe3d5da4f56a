use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use keywheel_connection::{Access, IssuerError};
use keywheel_core::{AccessToken, ServicePrincipalObjectId, TokenCredential, TokenRequest};
use serde::{Deserialize, Serialize};

use crate::{EntraIssuer, refusal};

/// What a connection needs in order to rotate its own secret, and whether it has it.
///
/// It asks for little: one application permission and one ownership.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Preflight {
    /// One finding for each need, in the order in which they are met.
    pub findings: Vec<Finding>,
}

/// One need, and whether it is met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What is needed.
    pub need: Need,
    /// Whether it is there; `None` when that can't be seen.
    pub granted: Option<bool>,
    /// What was seen, and what to do when it is missing.
    pub detail: String,
}

/// What a rotation of the own secret needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Need {
    /// To read the own application.
    ReadApplication,
    /// The application permission `Application.ReadWrite.OwnedBy`, or one that includes it.
    Permission,
    /// The service principal's ownership of its own application, which `OwnedBy` asks for.
    Ownership,
}

impl Preflight {
    /// Tells whether nothing is known to be missing.
    #[must_use]
    pub fn passes(&self) -> bool {
        self.findings
            .iter()
            .all(|finding| finding.granted != Some(false))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = match self.granted {
            Some(true) => "granted",
            Some(false) => "missing",
            None => "unknown",
        };
        write!(f, "{mark}: {}", self.detail)
    }
}

impl EntraIssuer {
    /// Looks at what the connection may do, and changes nothing.
    ///
    /// # Errors
    ///
    /// Returns an error when no token can be obtained. What Graph refuses is a finding.
    pub async fn preflight(&self, access: &Access<'_>) -> Result<Preflight, IssuerError> {
        let session = self.session(access)?;
        let request = TokenRequest::new(access.connection.cloud.graph_scope());
        let token = session.credential.get_token(&request).await;
        let token = token.map_err(|error| refusal::credential(&error))?;
        let claims = Claims::read(&token);
        let application = session.graph.application(access.connection.client);
        let read = match application.get().await {
            Ok(application) => {
                let name = application.display_name.unwrap_or_default();
                let secrets = application.password_credentials.len();
                let detail =
                    format!("reads its own application {name:?}, which has {secrets} secrets");
                Finding::new(Need::ReadApplication, Some(true), detail)
            }
            Err(error) => {
                let granted = (!error.is_transient()).then_some(false);
                Finding::new(Need::ReadApplication, granted, error.to_string())
            }
        };
        let owned = match (&claims.oid, application.owners().await) {
            (Some(own), Ok(owners)) => Some(owners.contains(own)),
            _ => None,
        };
        Ok(Preflight {
            findings: vec![read, claims.permission(), ownership(&claims, owned)],
        })
    }
}

impl Finding {
    fn new(need: Need, granted: Option<bool>, detail: impl Into<String>) -> Self {
        Self {
            need,
            granted,
            detail: detail.into(),
        }
    }
}

/// What is read of an access token, for diagnosis only: Microsoft says that tokens of its own APIs are
/// opaque, so whatever can't be read is unknown.
#[derive(Default, Deserialize)]
pub(crate) struct Claims {
    #[serde(default)]
    pub(crate) tid: Option<String>,
    #[serde(default)]
    roles: Option<Vec<String>>,
    #[serde(default)]
    oid: Option<ServicePrincipalObjectId>,
}

const OWNED_BY: &str = "Application.ReadWrite.OwnedBy";
/// What includes it, and much more.
const BROADER: [&str; 2] = ["Application.ReadWrite.All", "Directory.ReadWrite.All"];

impl Claims {
    pub(crate) fn read(token: &AccessToken) -> Self {
        let payload = token.token.expose().split('.').nth(1).unwrap_or_default();
        let json = BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap_or_default();
        serde_json::from_slice(&json).unwrap_or_default()
    }

    fn has(&self, role: &str) -> bool {
        self.roles.iter().flatten().any(|granted| granted == role)
    }

    fn broader(&self) -> Option<&'static str> {
        BROADER.into_iter().find(|role| self.has(role))
    }

    fn permission(&self) -> Finding {
        let need = Need::Permission;
        if self.has(OWNED_BY) {
            return Finding::new(need, Some(true), format!("{OWNED_BY} in the token"));
        }
        if let Some(role) = self.broader() {
            let detail = format!("{role} in the token; {OWNED_BY} and ownership would be enough");
            return Finding::new(need, Some(true), detail);
        }
        match self.roles {
            Some(_) => Finding::new(
                need,
                Some(false),
                format!("grant the application permission {OWNED_BY} with admin consent"),
            ),
            None => Finding::new(need, None, "the token can't be read"),
        }
    }
}

fn ownership(claims: &Claims, owned: Option<bool>) -> Finding {
    let need = Need::Ownership;
    match (owned, claims.broader()) {
        (Some(true), _) => Finding::new(need, Some(true), "owns its own application"),
        (_, Some(role)) => Finding::new(need, Some(true), format!("not needed with {role}")),
        (Some(false), None) => Finding::new(
            need,
            Some(false),
            "make the service principal an owner of its application: az ad app owner add --id <client id> \
             --owner-object-id <object id of the service principal>",
        ),
        (None, None) => Finding::new(need, None, "the owners can't be read"),
    }
}
