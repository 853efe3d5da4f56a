use serde_json::{Value, json};
use uuid::{Uuid, uuid};

/// Microsoft Graph's own application id.
pub(crate) const GRAPH_APP_ID: Uuid = uuid!("00000003-0000-0000-c000-000000000000");

/// A permission of Microsoft Graph.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PermissionEntry {
    pub(crate) name: &'static str,
    /// The app role, for application permissions.
    pub(crate) role: Option<Uuid>,
    /// The delegated scope.
    pub(crate) scope: Option<Uuid>,
    /// Whether users may consent to the scope themselves.
    pub(crate) user_consent: bool,
}

/// The permissions that concern what the emulator serves.
pub(crate) const ENTRIES: &[PermissionEntry] = &[
    both(
        "AppRoleAssignment.ReadWrite.All",
        uuid!("06b708a9-e830-4db3-a914-8e69da51d44f"),
        uuid!("84bccea3-f856-4a8a-967b-dbe0a3d53a64"),
    ),
    both(
        "Application.Read.All",
        uuid!("9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30"),
        uuid!("c79f8feb-a9db-4090-85f9-90d820caa0eb"),
    ),
    both(
        "Application.ReadUpdate.All",
        uuid!("fc023787-fd04-4e44-9bc7-d454f00c0f0a"),
        uuid!("0586a906-4d89-4de8-b3c8-1aacdcc0c679"),
    ),
    both(
        "Application.ReadWrite.All",
        uuid!("1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9"),
        uuid!("bdfbf15f-ee85-4955-8675-146e8e5296b5"),
    ),
    PermissionEntry {
        scope: None,
        ..both(
            "Application.ReadWrite.OwnedBy",
            uuid!("18a4783c-866b-4cc7-a460-3d5e5662c884"),
            Uuid::nil(),
        )
    },
    // The real ids of this new permission are not recorded anywhere: these two are made up.
    both(
        "AppRegistration.Create",
        uuid!("7f6b1c52-0d5e-4f6a-9c55-3d1a3a6f0e01"),
        uuid!("7f6b1c52-0d5e-4f6a-9c55-3d1a3a6f0e02"),
    ),
    both(
        "DelegatedPermissionGrant.ReadWrite.All",
        uuid!("8e8e4742-1d95-4f68-9d56-6ee75648c72a"),
        uuid!("41ce6ca6-6826-4807-84f1-1c82854f7ee5"),
    ),
    PermissionEntry {
        role: None,
        ..both(
            "Directory.AccessAsUser.All",
            Uuid::nil(),
            uuid!("0e263e50-5827-48a4-b97c-d940288653c7"),
        )
    },
    both(
        "Directory.Read.All",
        uuid!("7ab1d382-f21e-4acd-a863-ba3e13f7da61"),
        uuid!("06da0dbc-49e2-44d2-8312-53f166ab848a"),
    ),
    both(
        "Directory.ReadWrite.All",
        uuid!("19dbc75e-c2e2-444c-a770-ec69d8559fc7"),
        uuid!("c5366453-9fb0-48a5-a156-24f0c49a4b84"),
    ),
    both(
        "Organization.Read.All",
        uuid!("498476ce-e0fe-48b0-b801-37ba7e2685c6"),
        uuid!("4908d5b9-3fb2-4b1e-9336-1888b7937185"),
    ),
    both(
        "Policy.Read.All",
        uuid!("246dd0d5-5bd0-4def-940b-0421030a5b68"),
        uuid!("572fea84-0151-49b2-9301-11cb16974376"),
    ),
    both(
        "Policy.ReadWrite.ApplicationConfiguration",
        uuid!("be74164b-cff1-491c-8741-e671cb536e13"),
        uuid!("b27add92-efb2-4f16-84f5-8108ba77985c"),
    ),
    both(
        "User.Read.All",
        uuid!("df021288-bdef-4463-88db-98f22de89214"),
        uuid!("a154be20-db9c-4678-8ab7-66f6cc099a59"),
    ),
    PermissionEntry {
        user_consent: true,
        ..both(
            "User.ReadBasic.All",
            uuid!("97235f07-e226-4f63-ace3-39588e11d3a1"),
            uuid!("b340eb25-3456-403f-be2f-af7a0d370277"),
        )
    },
    user("User.Read", uuid!("e1fe6dd8-ba31-4d61-89e7-88639da4683d")),
    user("email", uuid!("64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0")),
    user(
        "offline_access",
        uuid!("7427e0e9-2fba-42fe-b0c0-848c9e6a8182"),
    ),
    user("openid", uuid!("37f7f235-527c-4136-accd-4a02d197296e")),
    user("profile", uuid!("14dad69e-099b-42c9-810b-d002981feec1")),
];

const fn both(name: &'static str, role: Uuid, scope: Uuid) -> PermissionEntry {
    PermissionEntry {
        name,
        role: Some(role),
        scope: Some(scope),
        user_consent: false,
    }
}

const fn user(name: &'static str, scope: Uuid) -> PermissionEntry {
    PermissionEntry {
        name,
        role: None,
        scope: Some(scope),
        user_consent: true,
    }
}

/// Returns the `appRoles` of Graph's service principal.
pub(crate) fn graph_roles() -> Value {
    ENTRIES
        .iter()
        .filter_map(|entry| {
            Some(json!({
                "allowedMemberTypes": ["Application"], "description": entry.name,
                "displayName": entry.name, "id": entry.role?, "isEnabled": true,
                "origin": "Application", "value": entry.name,
            }))
        })
        .collect()
}

/// Returns the `oauth2PermissionScopes` of Graph's service principal.
pub(crate) fn graph_scopes() -> Value {
    ENTRIES
        .iter()
        .filter_map(|entry| {
            Some(json!({
                "adminConsentDescription": entry.name, "adminConsentDisplayName": entry.name,
                "id": entry.scope?, "isEnabled": true,
                "type": if entry.user_consent { "User" } else { "Admin" },
                "userConsentDescription": entry.name, "userConsentDisplayName": entry.name,
                "value": entry.name,
            }))
        })
        .collect()
}
