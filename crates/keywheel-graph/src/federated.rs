use serde::{Deserialize, Serialize};

use crate::wire::nullable;

/// A federated identity credential: trust in another issuer's tokens instead of a secret.
///
/// <https://learn.microsoft.com/graph/api/resources/federatedidentitycredential>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub struct FederatedIdentityCredential {
    /// The id.
    #[serde(default)]
    pub id: Option<String>,
    /// The name, unique on the application.
    pub name: String,
    /// The issuer.
    pub issuer: String,
    /// The subject.
    #[serde(default)]
    pub subject: Option<String>,
    /// The audiences.
    #[serde(default, deserialize_with = "nullable")]
    pub audiences: Vec<String>,
    /// Free text.
    #[serde(default)]
    pub description: Option<String>,
}

/// A federated identity credential to be added, or what one is to become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct NewFederatedIdentityCredential {
    /// The name, unique on the application: 3 to 120 letters, digits, `-` and `_`. It can't be changed.
    pub name: String,
    /// The issuer.
    pub issuer: String,
    /// The subject.
    pub subject: String,
    /// The one audience: [`Cloud::exchange_audience`](keywheel_core::Cloud::exchange_audience).
    pub audiences: Vec<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl NewFederatedIdentityCredential {
    /// Returns trust in tokens of `issuer` for `subject` with this audience.
    #[must_use]
    pub fn new(
        name: impl Into<String>,
        issuer: impl Into<String>,
        subject: impl Into<String>,
        audience: impl Into<String>,
    ) -> Self {
        Self {
            name: name.into(),
            issuer: issuer.into(),
            subject: subject.into(),
            audiences: vec![audience.into()],
            description: None,
        }
    }

    /// Returns what may be changed: all but the name.
    pub(crate) fn change(&self) -> impl Serialize {
        #[derive(Serialize)]
        struct Change<'c> {
            issuer: &'c str,
            subject: &'c str,
            audiences: &'c [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            description: Option<&'c str>,
        }
        Change {
            issuer: &self.issuer,
            subject: &self.subject,
            audiences: &self.audiences,
            description: self.description.as_deref(),
        }
    }
}
