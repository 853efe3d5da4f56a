use keywheel_core::{ClientId, Cloud, TenantId};
use serde::Serialize;
use url::Url;
use uuid::Uuid;

use super::permission::{GRAPH, Permission};
use crate::TenantAccess;

/// What to do about a finding: any one of the ways.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Fix {
    /// Where in the Entra admin center.
    pub portal: String,
    /// Commands of the Azure CLI, in order.
    pub commands: Vec<String>,
    /// Where an administrator consents to everything that the registration asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub admin_consent: Option<String>,
}

/// Writes fixes for one application.
pub(super) struct Fixes<'a> {
    cloud: &'a Cloud,
    tenant: &'a TenantId,
    client: ClientId,
    name: String,
}

impl<'a> Fixes<'a> {
    pub(super) fn new(access: &'a TenantAccess, name: Option<&str>) -> Self {
        Self {
            cloud: &access.cloud,
            tenant: &access.tenant,
            client: access.client,
            name: name.map_or_else(|| access.client.to_string(), ToOwned::to_owned),
        }
    }

    /// Grants an application permission, or a delegated one.
    pub(super) fn grant(&self, permission: &Permission, delegated: bool) -> Fix {
        let (kind, id) = kind_and_id(permission, delegated);
        let client = self.client;
        let words = if delegated {
            "Delegated permissions"
        } else {
            "Application permissions"
        };
        let name = permission.name;
        Fix {
            portal: format!(
                "{} > API permissions > Add a permission > Microsoft Graph > {words} > {name}; then Grant \
                 admin consent",
                self.registration()
            ),
            commands: self.az([
                format!(
                    "az ad app permission add --id {client} --api {GRAPH} --api-permissions {id}={kind}"
                ),
                format!("az ad app permission admin-consent --id {client}"),
            ]),
            admin_consent: Some(self.admin_consent()),
        }
    }

    /// Takes a permission away.
    pub(super) fn take_away(
        &self,
        permission: &Permission,
        delegated: bool,
        assignment: Option<(&Uuid, &str)>,
    ) -> Fix {
        let (_, id) = kind_and_id(permission, delegated);
        let client = self.client;
        let mut commands = vec![format!(
            "az ad app permission delete --id {client} --api {GRAPH} --api-permissions {id}"
        )];
        if let Some((principal, assignment)) = assignment {
            let graph = self.cloud.graph().as_str().trim_end_matches('/');
            commands.push(format!(
                "az rest --method DELETE --url \
                 {graph}/v1.0/servicePrincipals/{principal}/appRoleAssignments/{assignment}"
            ));
        }
        Fix {
            portal: format!(
                "{} > API permissions > {} > Revoke admin consent, then Remove permission",
                self.registration(),
                permission.name
            ),
            commands: self.az(commands),
            admin_consent: None,
        }
    }

    /// Makes `owner` an owner of `application`.
    pub(super) fn own(&self, application: ClientId, owner: Option<Uuid>, user: bool) -> Fix {
        let portal = if user {
            format!("{} > Owners > Add owners", self.registration())
        } else {
            "the portal offers only users as owners of an app registration: use the command"
                .to_owned()
        };
        let owner = match owner {
            Some(owner) => owner.to_string(),
            None => format!(
                "$(az ad sp show --id {} --query id --output tsv)",
                self.client
            ),
        };
        Fix {
            portal,
            commands: self.az([format!(
                "az ad app owner add --id {application} --owner-object-id {owner}"
            )]),
            admin_consent: None,
        }
    }

    /// Does what only the portal, or only these commands, can do.
    pub(super) fn other(&self, place: &str, commands: impl IntoIterator<Item = String>) -> Fix {
        Fix {
            portal: format!("{} > {place}", self.registration()),
            commands: self.az(commands),
            admin_consent: None,
        }
    }

    fn registration(&self) -> String {
        let portal = match self.cloud.name() {
            Some("us-government" | "us-government-dod") => "https://entra.microsoft.us",
            Some("china") => "https://entra.microsoftonline.cn",
            _ => "https://entra.microsoft.com",
        };
        format!("{portal} > Entra ID > App registrations > {}", self.name)
    }

    /// The Azure CLI must be signed in to the same cloud.
    fn az(&self, commands: impl IntoIterator<Item = String>) -> Vec<String> {
        let cloud = match self.cloud.name() {
            Some("us-government" | "us-government-dod") => Some("AzureUSGovernment"),
            Some("china") => Some("AzureChinaCloud"),
            _ => None,
        };
        let commands: Vec<_> = commands.into_iter().collect();
        let first = cloud.filter(|_| !commands.is_empty());
        let first = first.map(|cloud| format!("az cloud set --name {cloud}"));
        first.into_iter().chain(commands).collect()
    }

    /// The older form of the address, which asks for all that is registered and needs no redirect URI.
    /// <https://learn.microsoft.com/entra/identity/enterprise-apps/grant-admin-consent>
    fn admin_consent(&self) -> String {
        let mut url: Url = self.cloud.authority().clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .push(self.tenant.as_str())
                .push("adminconsent");
        }
        url.query_pairs_mut()
            .append_pair("client_id", &self.client.to_string());
        url.into()
    }
}

fn kind_and_id(permission: &Permission, delegated: bool) -> (&'static str, String) {
    let (kind, id) = if delegated {
        ("Scope", permission.scope)
    } else {
        ("Role", permission.role)
    };
    (kind, id.map(|id| id.to_string()).unwrap_or_default())
}

/// Registers a certificate by hand, beside those that are there.
pub(crate) fn upload_command(client: ClientId) -> String {
    format!("az ad app credential reset --id {client} --append --cert @certificate.pem")
}
