mod client;
mod keys;

use chrono::{DateTime, Utc};
use keywheel_core::{ApplicationObjectId, ClientId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use self::client::ApplicationClient;
pub(crate) use self::client::{get, get_with, owners, remove_password};
use crate::call::{Call, Path};
use crate::wire::nullable;
use crate::{KeyCredential, ListOptions, PasswordCredential};

/// An application object: an app registration.
///
/// What was not selected is empty. <https://learn.microsoft.com/graph/api/resources/application>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Application {
    /// The object id.
    pub id: ApplicationObjectId,
    /// The application (client) id.
    pub app_id: ClientId,
    /// The display name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The name that is unique in the tenant, an alternate key.
    #[serde(default)]
    pub unique_name: Option<String>,
    /// Who may sign in, as in `AzureADMyOrg`.
    #[serde(default)]
    pub sign_in_audience: Option<String>,
    /// When it was registered.
    #[serde(default)]
    pub created_date_time: Option<DateTime<Utc>>,
    /// Whether its sign-ins are disabled.
    #[serde(default)]
    pub is_disabled: Option<bool>,
    /// Whether Microsoft disabled it, as in `DisabledDueToViolationOfServicesAgreement`.
    #[serde(default)]
    pub disabled_by_microsoft_status: Option<String>,
    /// Free text of its administrators.
    #[serde(default)]
    pub notes: Option<String>,
    /// Its tags.
    #[serde(default, deserialize_with = "nullable")]
    pub tags: Vec<String>,
    /// The client secrets, in no order.
    #[serde(default, deserialize_with = "nullable")]
    pub password_credentials: Vec<PasswordCredential>,
    /// The certificates, in no order.
    #[serde(default, deserialize_with = "nullable")]
    pub key_credentials: Vec<KeyCredential>,
    /// The permissions that it asks for; whether they are granted is another matter.
    #[serde(default, deserialize_with = "nullable")]
    pub required_resource_access: Vec<RequiredResourceAccess>,
}

/// What an application asks for of one resource.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RequiredResourceAccess {
    /// The resource's client id.
    pub resource_app_id: String,
    /// The permissions.
    #[serde(default, deserialize_with = "nullable")]
    pub resource_access: Vec<ResourceAccess>,
}

/// One permission that an application asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ResourceAccess {
    /// The id of the permission.
    pub id: Uuid,
    /// `Role` for an application permission, `Scope` for a delegated one.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
}

impl Application {
    /// Returns how many client secrets the application may hold, if there is such a limit: two when its
    /// audience includes personal accounts.
    #[must_use]
    pub fn secret_limit(&self) -> Option<u8> {
        match self.sign_in_audience.as_deref()? {
            "AzureADandPersonalMicrosoftAccount" | "PersonalMicrosoftAccount" => Some(2),
            _ => None,
        }
    }
}

/// What an application is addressed by.
///
/// Writes to one application wait for each other when they address it in the same way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ApplicationKey {
    /// By its client id (`appId`): the alternate key that needs no object id.
    ClientId(ClientId),
    /// By its object id.
    ObjectId(ApplicationObjectId),
    /// By its `uniqueName`.
    UniqueName(String),
}

impl ApplicationKey {
    /// Addresses an application by its `uniqueName`.
    #[must_use]
    pub fn unique_name(name: impl Into<String>) -> Self {
        Self::UniqueName(name.into())
    }

    /// Returns the path of the application and what is below it, in its recorded spelling.
    pub(crate) fn path(&self, below: &[&str]) -> Path {
        let (id, keyed);
        let mut segments = Vec::with_capacity(4);
        match self {
            Self::ObjectId(object) => {
                id = object.to_string();
                segments.extend(["applications", &id]);
            }
            Self::ClientId(client) => {
                keyed = format!("applications(appId='{client}')");
                segments.push(&keyed);
            }
            Self::UniqueName(name) => {
                keyed = format!("applications(uniqueName='{}')", Path::encode(name));
                segments.push(&keyed);
            }
        }
        segments.extend(below);
        Path::of(&segments)
    }
}

impl From<ClientId> for ApplicationKey {
    fn from(id: ClientId) -> Self {
        Self::ClientId(id)
    }
}

impl From<ApplicationObjectId> for ApplicationKey {
    fn from(id: ApplicationObjectId) -> Self {
        Self::ObjectId(id)
    }
}

/// An application to be created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NewApplication {
    /// The display name.
    pub display_name: String,
    /// Who may sign in. Default: `AzureADMyOrg`, because Graph's own default includes personal accounts, and
    /// such an application holds two secrets at most.
    pub sign_in_audience: String,
    /// The name that is unique in the tenant.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unique_name: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Tags.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// The permissions that it asks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub required_resource_access: Vec<RequiredResourceAccess>,
}

impl NewApplication {
    /// Returns an application for the tenant's own accounts.
    #[must_use]
    pub fn new(display_name: impl Into<String>) -> Self {
        Self {
            display_name: display_name.into(),
            sign_in_audience: "AzureADMyOrg".to_owned(),
            unique_name: None,
            notes: None,
            tags: Vec::new(),
            required_resource_access: Vec::new(),
        }
    }
}

/// What is to be changed of an application. What is `None` stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ApplicationUpdate {
    /// The display name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// Free text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notes: Option<String>,
    /// Who may sign in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sign_in_audience: Option<String>,
    /// All its tags.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// All permissions that it asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_resource_access: Option<Vec<RequiredResourceAccess>>,
}

/// What is read of an application. The certificates' own bytes are left out: reading them is limited to 150
/// requests a minute.
pub(crate) const PROPERTIES: &str = "id,appId,displayName,signInAudience,passwordCredentials";

pub(crate) fn list(options: &ListOptions) -> Call {
    Call::read("applications", options.path("applications", PROPERTIES))
}
