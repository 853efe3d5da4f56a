use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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

    fn has_role(&self, any: &[&str]) -> bool {
        self.roles.iter().any(|role| any.contains(&role.as_str()))
    }
}
