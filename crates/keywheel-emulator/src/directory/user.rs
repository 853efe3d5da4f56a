use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::{Uuid, uuid};

use crate::SecretText;
use crate::secret_text::exposed;

/// A person who signs in.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct User {
    pub(crate) id: Uuid,
    /// The user principal name.
    pub(crate) name: String,
    pub(crate) display_name: String,
    #[serde(with = "exposed")]
    pub(crate) password: SecretText,
    /// Directory roles, by display name.
    pub(crate) roles: Vec<String>,
    /// Refresh tokens and sessions from before are revoked.
    pub(crate) valid_from: DateTime<Utc>,
}

impl User {
    /// Tells whether the user may change any application.
    pub(crate) fn manages_applications(&self) -> bool {
        self.has_role(&[
            "Application Administrator",
            "Cloud Application Administrator",
            "Global Administrator",
        ])
    }

    /// Tells whether the user may consent for everyone in the tenant.
    pub(crate) fn consents_for_all(&self) -> bool {
        self.has_role(&["Global Administrator", "Privileged Role Administrator"])
            || self.manages_applications()
    }

    /// Returns what tokens say of the user's roles in `wids`: their template ids, and the one that all have.
    pub(crate) fn role_ids(&self) -> Vec<Uuid> {
        let held = ROLES.iter().filter(|(name, _)| self.has_role(&[name]));
        held.map(|(_, id)| *id).chain([EVERY_USER]).collect()
    }

    fn has_role(&self, any: &[&str]) -> bool {
        self.roles.iter().any(|role| any.contains(&role.as_str()))
    }
}

/// <https://learn.microsoft.com/entra/identity/role-based-access-control/permissions-reference>.
const ROLES: [(&str, Uuid); 4] = [
    (
        "Application Administrator",
        uuid!("9b895d92-2cd3-44c7-9d02-a6ac2d5ea5c3"),
    ),
    (
        "Cloud Application Administrator",
        uuid!("158c047a-c907-4556-b7ef-446551a6b5f7"),
    ),
    (
        "Global Administrator",
        uuid!("62e90394-69f5-4237-9190-012177145e10"),
    ),
    (
        "Privileged Role Administrator",
        uuid!("e8611ab8-c189-46e8-94e1-60213ab1f814"),
    ),
];
const EVERY_USER: Uuid = uuid!("b79fbf4d-3ef9-4689-8143-76b194e85509");
