use chrono::{DateTime, Utc};
use keywheel_core::{KeyId, Secret};
use serde::{Deserialize, Deserializer, Serialize};

/// A client secret as Graph shows it (`passwordCredential`).
///
/// `secretText` is there only in the answer of `addPassword`, once.
/// <https://learn.microsoft.com/graph/api/resources/passwordcredential>
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct PasswordCredential {
    /// The key id.
    #[serde(default)]
    pub key_id: Option<KeyId>,
    /// The display name. Very old secrets have none, and their name in `custom_key_identifier`.
    #[serde(default)]
    pub display_name: Option<String>,
    /// Binary, in base64. Not in use any more.
    #[serde(default)]
    pub custom_key_identifier: Option<String>,
    /// The first three characters of the secret.
    #[serde(default)]
    pub hint: Option<String>,
    /// The secret.
    #[serde(default, deserialize_with = "secret")]
    pub secret_text: Option<Secret>,
    /// When it begins to be valid.
    #[serde(default)]
    pub start_date_time: Option<DateTime<Utc>>,
    /// When it ends.
    #[serde(default)]
    pub end_date_time: Option<DateTime<Utc>>,
}

/// A client secret to be added. Graph makes the secret and the key id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NewPassword {
    /// The display name.
    pub display_name: String,
    /// When it ends. Graph's own default is two years, which many tenants' policies refuse.
    pub end_date_time: DateTime<Utc>,
}

impl NewPassword {
    /// Returns a secret called `display_name` that ends at `end_date_time`.
    #[must_use]
    pub fn new(display_name: impl Into<String>, end_date_time: DateTime<Utc>) -> Self {
        Self {
            display_name: display_name.into(),
            end_date_time,
        }
    }
}

fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Secret::new))
}
