use keywheel_core::ClientId;
use serde::Deserialize;
use uuid::Uuid;

/// A user, a service principal, or another object of the directory, as lists of owners show it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct DirectoryObject {
    /// The object id.
    pub id: Uuid,
    /// What it is, as in `#microsoft.graph.servicePrincipal`.
    #[serde(rename = "@odata.type", default)]
    pub kind: Option<String>,
    /// The display name. It may be hidden from the caller.
    #[serde(default)]
    pub display_name: Option<String>,
    /// A user's principal name.
    #[serde(default)]
    pub user_principal_name: Option<String>,
    /// A service principal's or application's client id.
    #[serde(default)]
    pub app_id: Option<ClientId>,
}

impl DirectoryObject {
    /// Tells whether it is an application object.
    #[must_use]
    pub fn is_application(&self) -> bool {
        self.kind.as_deref() == Some("#microsoft.graph.application")
    }

    /// Returns what a person calls it: the user principal name, the display name, or else the id.
    #[must_use]
    pub fn label(&self) -> String {
        let name = self
            .user_principal_name
            .as_ref()
            .or(self.display_name.as_ref());
        name.cloned().unwrap_or_else(|| self.id.to_string())
    }
}
