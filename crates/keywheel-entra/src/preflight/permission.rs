//! The permissions of Microsoft Graph that matter here, by name and id.
//! <https://learn.microsoft.com/graph/permissions-reference>

use uuid::{Uuid, uuid};

/// Microsoft Graph's own client id.
pub(super) const GRAPH: &str = "00000003-0000-0000-c000-000000000000";

/// A permission, and what it is called where it is granted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Permission {
    pub(super) name: &'static str,
    /// The id of the application permission.
    pub(super) role: Option<Uuid>,
    /// The id of the delegated permission.
    pub(super) scope: Option<Uuid>,
}

pub(super) const OWNED_BY: &str = "Application.ReadWrite.OwnedBy";
pub(super) const READ_WRITE_ALL: &str = "Application.ReadWrite.All";
pub(super) const READ_ALL: &str = "Application.Read.All";
pub(super) const DIRECTORY_WRITE: &str = "Directory.ReadWrite.All";
pub(super) const DIRECTORY_READ: &str = "Directory.Read.All";
pub(super) const ASSIGN_ROLES: &str = "AppRoleAssignment.ReadWrite.All";
pub(super) const USER_READ: &str = "User.Read";

/// What lets an application write to all applications.
pub(super) const WRITES_ALL: [&str; 2] = [READ_WRITE_ALL, DIRECTORY_WRITE];
/// What lets it list all applications.
pub(super) const READS_ALL: [&str; 4] = [READ_ALL, READ_WRITE_ALL, DIRECTORY_READ, DIRECTORY_WRITE];
/// Directory roles under which a user manages all applications.
pub(super) const MANAGING_ROLES: [(Uuid, &str); 3] = [
    (
        uuid!("62e90394-69f5-4237-9190-012177145e10"),
        "Global Administrator",
    ),
    (
        uuid!("9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"),
        "Application Administrator",
    ),
    (
        uuid!("158c047a-c907-4556-b7ef-446551a6b5f7"),
        "Cloud Application Administrator",
    ),
];

const ALL: [Permission; 8] = [
    Permission {
        name: READ_ALL,
        role: Some(uuid!("9a5d68dd-52b0-4cc2-bd40-abcf44ac3a30")),
        scope: Some(uuid!("c79f8feb-a9db-4090-85f9-90d820caa0eb")),
    },
    Permission {
        name: READ_WRITE_ALL,
        role: Some(uuid!("1bfefb4e-e0b5-418b-a88f-73c46d2cc8e9")),
        scope: Some(uuid!("bdfbf15f-ee85-4955-8675-146e8e5296b5")),
    },
    Permission {
        name: OWNED_BY,
        role: Some(uuid!("18a4783c-866b-4cc7-a460-3d5e5662c884")),
        scope: None,
    },
    Permission {
        name: ASSIGN_ROLES,
        role: Some(uuid!("06b708a9-e830-4db3-a914-8e69da51d44f")),
        scope: Some(uuid!("84bccea3-f856-4a8a-967b-dbe0a3d53a64")),
    },
    Permission {
        name: DIRECTORY_READ,
        role: Some(uuid!("7ab1d382-f21e-4acd-a863-ba3e13f7da61")),
        scope: Some(uuid!("06da0dbc-49e2-44d2-8312-53f166ab848a")),
    },
    Permission {
        name: DIRECTORY_WRITE,
        role: Some(uuid!("19dbc75e-c2e2-444c-a770-ec69d8559fc7")),
        scope: Some(uuid!("c5366453-9fb0-48a5-a156-24f0c49a4b84")),
    },
    Permission {
        name: "Policy.Read.All",
        role: Some(uuid!("246dd0d5-5bd0-4def-940b-0421030a5b68")),
        scope: Some(uuid!("572fea84-0151-49b2-9301-11cb16974376")),
    },
    Permission {
        name: USER_READ,
        role: None,
        scope: Some(uuid!("e1fe6dd8-ba31-4d61-89e7-88639da4683d")),
    },
];

pub(super) fn named(name: &str) -> Option<&'static Permission> {
    ALL.iter().find(|permission| permission.name == name)
}

pub(super) fn with_role(id: Uuid) -> Option<&'static Permission> {
    ALL.iter().find(|permission| permission.role == Some(id))
}

pub(super) fn with_scope(id: Uuid) -> Option<&'static Permission> {
    ALL.iter().find(|permission| permission.scope == Some(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ids as Microsoft publishes them.
    #[test]
    fn every_id_is_that_of_the_permissions_reference() {
        let text = include_str!("../../tests/fixtures/graph-permissions.json");
        let published: serde_json::Value = serde_json::from_str(text).unwrap();
        assert_eq!(published["resourceAppId"], GRAPH);
        for permission in ALL {
            let entry = &published["entries"][permission.name];
            let id = |kind: &str| entry[kind]["id"].as_str().map(|id| id.parse().unwrap());
            assert_eq!(id("appRole"), permission.role, "{}", permission.name);
            assert_eq!(
                id("delegatedScope"),
                permission.scope,
                "{}",
                permission.name
            );
        }
    }
}
