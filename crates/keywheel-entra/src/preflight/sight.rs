use std::collections::BTreeMap;

use keywheel_core::{ClientId, CredentialError};
use keywheel_graph::{
    AppManagementPolicy, AppRoleAssignment, Application, DirectoryObject, GraphError,
};
use uuid::Uuid;

use super::{Purpose, permission};
use crate::TenantAccess;
use crate::token::Claims;

/// All that was looked at.
#[derive(Debug)]
pub(super) struct Sight {
    pub(super) claims: Claims,
    pub(super) application: Result<Application, GraphError>,
    /// The owners of the own application and of those that are to be rotated.
    pub(super) owners: BTreeMap<ClientId, Result<Vec<DirectoryObject>, GraphError>>,
    /// What is granted to the service principal, where that may be read.
    pub(super) assignments: Option<Vec<AppRoleAssignment>>,
    pub(super) policy: Option<AppManagementPolicy>,
}

const PROPERTIES: [&str; 8] = [
    "id",
    "appId",
    "displayName",
    "signInAudience",
    "createdDateTime",
    "passwordCredentials",
    "keyCredentials",
    "requiredResourceAccess",
];

impl TenantAccess {
    pub(super) async fn look(&self, purposes: &[Purpose]) -> Result<Sight, CredentialError> {
        let claims = Claims::read(&self.token().await?);
        let graph = self.graph();
        let application = graph.application(self.client).get_with(&PROPERTIES).await;
        let others = purposes.iter().filter_map(|purpose| match purpose {
            Purpose::RotateSecretOf(client) => Some(*client),
            _ => None,
        });
        let mut owners = BTreeMap::new();
        for client in std::iter::once(self.client).chain(others) {
            owners.insert(client, graph.application(client).owners().await);
        }
        let principal = graph.service_principal(self.client);
        Ok(Sight {
            claims,
            application,
            owners,
            assignments: principal.app_role_assignments().all().await.ok(),
            policy: graph.app_management_policy().await.ok(),
        })
    }
}

impl Sight {
    /// Returns the name of the own application.
    pub(super) fn name(&self) -> Option<&str> {
        self.application.as_ref().ok()?.display_name.as_deref()
    }

    /// Finds the assignment by which the service principal holds an application permission: its own object
    /// id, and the assignment's.
    pub(super) fn assignment(&self, name: &str) -> Option<(&Uuid, &str)> {
        let role = permission::named(name)?.role?;
        let mut all = self.assignments.iter().flatten();
        let found = all.find(|it| it.app_role_id == role)?;
        Some((found.principal_id.as_ref()?, &found.id))
    }

    /// Tells whether the caller, by its service principal or as a user, owns the application.
    pub(super) fn owns(&self, application: &ClientId) -> Option<bool> {
        let own = self.claims.oid?;
        let owners = self.owners.get(application)?.as_ref().ok()?;
        Some(owners.iter().any(|owner| owner.id == own))
    }
}
