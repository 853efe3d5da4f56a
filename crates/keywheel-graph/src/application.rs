use keywheel_core::{ApplicationObjectId, ClientId, KeyId, ServicePrincipalObjectId};
use serde::{Deserialize, Serialize};

use crate::client::Call;
use crate::{GraphClient, GraphError, NewPassword, PasswordCredential};

/// An application object: an app registration.
///
/// <https://learn.microsoft.com/graph/api/resources/application>
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
    /// Who may sign in, as in `AzureADMyOrg`.
    #[serde(default)]
    pub sign_in_audience: Option<String>,
    /// The client secrets, in no order.
    #[serde(default)]
    pub password_credentials: Vec<PasswordCredential>,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ApplicationKey {
    /// By its client id (`appId`): the alternate key that needs no object id.
    ClientId(ClientId),
    /// By its object id.
    ObjectId(ApplicationObjectId),
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

impl ApplicationKey {
    /// Returns the path of the application, in its recorded spelling.
    fn path(self, action: Option<&str>) -> Vec<String> {
        let mut path = match self {
            Self::ClientId(id) => vec![format!("applications(appId='{id}')")],
            Self::ObjectId(id) => vec!["applications".to_owned(), id.to_string()],
        };
        path.extend(action.map(ToOwned::to_owned));
        path
    }
}

/// The calls on one application.
#[derive(Clone, Debug)]
pub struct ApplicationClient<'a> {
    graph: &'a GraphClient,
    key: ApplicationKey,
}

impl<'a> ApplicationClient<'a> {
    pub(crate) fn new(graph: &'a GraphClient, key: ApplicationKey) -> Self {
        Self { graph, key }
    }

    /// Reads the application and its client secrets.
    ///
    /// Sent again while Graph is in trouble. What it does not show may exist nevertheless.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    pub async fn get(&self) -> Result<Application, GraphError> {
        let query = [(
            "$select",
            "id,appId,displayName,signInAudience,passwordCredentials",
        )];
        let call = Call::read(self.key.path(None)).query(&query);
        self.graph.json(call).await
    }

    /// Reads the object ids of the application's owners that are service principals or users.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    pub async fn owners(&self) -> Result<Vec<ServicePrincipalObjectId>, GraphError> {
        #[derive(Deserialize)]
        struct Owners {
            value: Vec<Owner>,
        }
        #[derive(Deserialize)]
        struct Owner {
            id: ServicePrincipalObjectId,
        }
        let path = self.key.path(Some("owners"));
        let owners: Owners = self
            .graph
            .json(Call::read(path).query(&[("$select", "id")]))
            .await?;
        Ok(owners.value.into_iter().map(|owner| owner.id).collect())
    }

    /// Adds a client secret. Its answer is the only time that the secret is shown.
    ///
    /// **Not idempotent**: it is sent again only when it certainly never left.
    /// <https://learn.microsoft.com/graph/api/application-addpassword>
    ///
    /// # Errors
    ///
    /// When [`may_have_effect`](GraphError::may_have_effect), a secret may have been added whose text
    /// nobody holds: look for its display name.
    pub async fn add_password(
        &self,
        password: &NewPassword,
    ) -> Result<PasswordCredential, GraphError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'b> {
            password_credential: &'b NewPassword,
        }
        let body = Body {
            password_credential: password,
        };
        let path = self.key.path(Some("addPassword"));
        self.graph.json(Call::write(path, &body)).await
    }

    /// Removes a client secret by its key id.
    ///
    /// Sent again only when it certainly never left.
    /// <https://learn.microsoft.com/graph/api/application-removepassword>
    ///
    /// # Errors
    ///
    /// A key id that the replica does not know is an [`InvalidRequest`](crate::GraphErrorKind) for which
    /// [`is_unknown_key`] holds: no proof that it is gone.
    ///
    /// [`is_unknown_key`]: GraphError::is_unknown_key
    pub async fn remove_password(&self, key_id: &KeyId) -> Result<(), GraphError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body<'b> {
            key_id: &'b KeyId,
        }
        let path = self.key.path(Some("removePassword"));
        self.graph.send(Call::write(path, &Body { key_id })).await?;
        Ok(())
    }
}

impl GraphError {
    /// Tells whether Graph said that there is no secret with this key id.
    ///
    /// Recognised by its words, because the code is a general one. Within minutes of adding a secret it
    /// may be wrong.
    #[must_use]
    pub fn is_unknown_key(&self) -> bool {
        self.text()
            .is_some_and(|text| text.starts_with("No password credential found with keyId"))
    }
}
