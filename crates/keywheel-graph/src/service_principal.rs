use chrono::{DateTime, Utc};
use keywheel_core::{ClientId, ServicePrincipalObjectId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::call::{Call, Path, Repeat};
use crate::traffic::Lane;
use crate::wire::nullable;
use crate::{
    DirectoryObject, GraphClient, GraphError, KeyCredential, ListOptions, Pages, PasswordCredential,
};

/// A service principal: an application as it is in one tenant (an *enterprise application*).
///
/// <https://learn.microsoft.com/graph/api/resources/serviceprincipal>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct ServicePrincipal {
    /// The object id.
    pub id: ServicePrincipalObjectId,
    /// The client id of its application.
    pub app_id: ClientId,
    /// The display name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Whether it may sign in.
    #[serde(default)]
    pub account_enabled: Option<bool>,
    /// What kind it is, as in `Application` or `ManagedIdentity`.
    #[serde(default)]
    pub service_principal_type: Option<String>,
    /// The tenant in which its application is registered.
    #[serde(default)]
    pub app_owner_organization_id: Option<Uuid>,
    /// Its own client secrets, beside those of the application.
    #[serde(default, deserialize_with = "nullable")]
    pub password_credentials: Vec<PasswordCredential>,
    /// Its own certificates, beside those of the application.
    #[serde(default, deserialize_with = "nullable")]
    pub key_credentials: Vec<KeyCredential>,
}

/// What a service principal is addressed by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum ServicePrincipalKey {
    /// By the client id of its application.
    ClientId(ClientId),
    /// By its object id.
    ObjectId(ServicePrincipalObjectId),
}

impl ServicePrincipalKey {
    fn path(&self, below: &[&str]) -> Path {
        let (id, keyed);
        let mut segments = Vec::with_capacity(4);
        match self {
            Self::ObjectId(object) => {
                id = object.to_string();
                segments.extend(["servicePrincipals", &id]);
            }
            Self::ClientId(client) => {
                keyed = format!("servicePrincipals(appId='{client}')");
                segments.push(&keyed);
            }
        }
        segments.extend(below);
        Path::of(&segments)
    }
}

impl From<ClientId> for ServicePrincipalKey {
    fn from(id: ClientId) -> Self {
        Self::ClientId(id)
    }
}

impl From<ServicePrincipalObjectId> for ServicePrincipalKey {
    fn from(id: ServicePrincipalObjectId) -> Self {
        Self::ObjectId(id)
    }
}

/// An application permission that was granted.
/// <https://learn.microsoft.com/graph/api/resources/approleassignment>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct AppRoleAssignment {
    /// The id of the assignment.
    pub id: String,
    /// The id of the permission.
    pub app_role_id: Uuid,
    /// Who holds it.
    #[serde(default)]
    pub principal_id: Option<Uuid>,
    /// What kind of object holds it, as in `ServicePrincipal`.
    #[serde(default)]
    pub principal_type: Option<String>,
    /// The service principal whose permission it is.
    #[serde(default)]
    pub resource_id: Option<Uuid>,
    /// Its name, as in `Microsoft Graph`.
    #[serde(default)]
    pub resource_display_name: Option<String>,
    /// When it was granted.
    #[serde(default)]
    pub created_date_time: Option<DateTime<Utc>>,
}

/// The calls on one service principal.
#[derive(Clone, Debug)]
pub struct ServicePrincipalClient<'a> {
    graph: &'a GraphClient,
    key: ServicePrincipalKey,
}

impl<'a> ServicePrincipalClient<'a> {
    pub(crate) fn new(graph: &'a GraphClient, key: ServicePrincipalKey) -> Self {
        Self { graph, key }
    }

    /// Reads the service principal.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing could be read.
    pub async fn get(&self) -> Result<ServicePrincipal, GraphError> {
        let path = self.key.path(&[]).query("$select", PROPERTIES);
        self.graph.json(&Call::read("servicePrincipal", path)).await
    }

    /// Lists the application permissions that it was granted.
    /// <https://learn.microsoft.com/graph/api/serviceprincipal-list-approleassignments>
    #[must_use]
    pub fn app_role_assignments(&self) -> Pages<AppRoleAssignment> {
        let path = self.key.path(&[ASSIGNMENTS]);
        Pages::new(self.graph, Call::read("appRoleAssignments", path))
    }

    /// Grants an application permission: `app_role` of the service principal `resource`, to this one, whose
    /// object id is `principal`.
    /// <https://learn.microsoft.com/graph/api/serviceprincipal-post-approleassignments>
    ///
    /// # Errors
    ///
    /// One that it holds already is [`AlreadyExists`](crate::Refusal::AlreadyExists).
    pub async fn assign_app_role(
        &self,
        principal: ServicePrincipalObjectId,
        resource: ServicePrincipalObjectId,
        app_role: Uuid,
    ) -> Result<AppRoleAssignment, GraphError> {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Body {
            principal_id: ServicePrincipalObjectId,
            resource_id: ServicePrincipalObjectId,
            app_role_id: Uuid,
        }
        let body = Body {
            principal_id: principal,
            resource_id: resource,
            app_role_id: app_role,
        };
        let call = Call::post("assignAppRole", self.key.path(&[ASSIGNMENTS]), &body)
            .repeat(Repeat::IfRefused)
            .on(Lane::ServicePrincipal(self.key.clone()));
        self.graph.json(&call).await
    }

    /// Takes an application permission back, by the id of its assignment.
    ///
    /// # Errors
    ///
    /// One that is not there is [`NotFound`](crate::GraphErrorKind::NotFound).
    pub async fn remove_app_role(&self, assignment: &str) -> Result<(), GraphError> {
        let path = self.key.path(&[ASSIGNMENTS, &Path::encode(assignment)]);
        let lane = Lane::ServicePrincipal(self.key.clone());
        let call = Call::delete("removeAppRole", path).on(lane);
        self.graph.send(&call).await.map(drop)
    }

    /// Lists what it owns: with `Application.ReadWrite.OwnedBy` alone, its applications are all that may be
    /// read. Read those that matter one by one, or in a [batch](crate::Batch).
    /// <https://learn.microsoft.com/graph/api/serviceprincipal-list-ownedobjects>
    #[must_use]
    pub fn owned_objects(&self) -> Pages<DirectoryObject> {
        let path = self.key.path(&["ownedObjects"]);
        Pages::new(self.graph, Call::read("ownedObjects", path))
    }
}

const ASSIGNMENTS: &str = "appRoleAssignments";
const PROPERTIES: &str = "id,appId,displayName,accountEnabled,servicePrincipalType,\
                          appOwnerOrganizationId,passwordCredentials,keyCredentials";

pub(crate) fn list(options: &ListOptions) -> Call {
    let path = options.path("servicePrincipals", PROPERTIES);
    Call::read("servicePrincipals", path)
}
