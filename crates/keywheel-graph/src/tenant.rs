use keywheel_core::TenantId;
use serde::Deserialize;
use uuid::Uuid;

use crate::call::{Call, Path};
use crate::wire::nullable;

/// The signed-in user. <https://learn.microsoft.com/graph/api/resources/user>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct User {
    /// The object id.
    pub id: Uuid,
    /// The display name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The user principal name.
    #[serde(default)]
    pub user_principal_name: Option<String>,
    /// The mail address.
    #[serde(default)]
    pub mail: Option<String>,
}

/// The tenant. <https://learn.microsoft.com/graph/api/resources/organization>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Organization {
    /// The tenant id.
    pub id: TenantId,
    /// The display name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// What kind of tenant it is, as in `AAD` or `AAD B2C`.
    #[serde(default)]
    pub tenant_type: Option<String>,
    /// The domains that belong to it.
    #[serde(default, deserialize_with = "nullable")]
    pub verified_domains: Vec<VerifiedDomain>,
}

/// A domain that belongs to a tenant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct VerifiedDomain {
    /// The domain.
    #[serde(default)]
    pub name: Option<String>,
    /// Whether new users get it.
    #[serde(default)]
    pub is_default: Option<bool>,
}

impl Organization {
    /// Tells whether `tenant` names this tenant, by its id or one of its domains.
    #[must_use]
    pub fn is(&self, tenant: &TenantId) -> bool {
        let domain = |domain: &VerifiedDomain| {
            let name = domain.name.as_deref();
            name.is_some_and(|name| name.eq_ignore_ascii_case(tenant.as_str()))
        };
        self.id == *tenant || self.verified_domains.iter().any(domain)
    }
}

pub(crate) fn me() -> Call {
    let properties = "id,displayName,userPrincipalName,mail";
    Call::read("me", Path::of(&["me"]).query("$select", properties))
}

pub(crate) fn organization() -> Call {
    let properties = "id,displayName,tenantType,verifiedDomains";
    let path = Path::of(&["organization"]).query("$select", properties);
    Call::read("organization", path)
}
