use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use chrono::{DateTime, Utc};
use keywheel_core::KeyId;
use serde::{Deserialize, Serialize};

/// A certificate as Graph shows it (`keyCredential`).
///
/// <https://learn.microsoft.com/graph/api/resources/keycredential>
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct KeyCredential {
    /// The key id.
    #[serde(default)]
    pub key_id: Option<KeyId>,
    /// The display name.
    #[serde(default)]
    pub display_name: Option<String>,
    /// The SHA-1 thumbprint in base64, or what else was given: see [`thumbprint`](Self::thumbprint).
    #[serde(default)]
    pub custom_key_identifier: Option<String>,
    /// What kind it is, as in `AsymmetricX509Cert`.
    #[serde(rename = "type", default)]
    pub kind: Option<String>,
    /// What it is for, as in `Verify`.
    #[serde(default)]
    pub usage: Option<String>,
    /// The certificate (DER) in base64. Only there when `keyCredentials` of a single application were
    /// selected.
    #[serde(default)]
    pub key: Option<String>,
    /// When it begins to be valid.
    #[serde(default)]
    pub start_date_time: Option<DateTime<Utc>>,
    /// When it ends.
    #[serde(default)]
    pub end_date_time: Option<DateTime<Utc>>,
}

impl KeyCredential {
    /// Returns the SHA-1 thumbprint in upper-case hexadecimal digits, as the portal shows it, unless
    /// something else was given as the identifier.
    #[must_use]
    pub fn thumbprint(&self) -> Option<String> {
        let text = self.custom_key_identifier.as_deref()?;
        if text.len() == 40 && text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Some(text.to_ascii_uppercase());
        }
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        (bytes.len() == 20).then(|| bytes.iter().map(|byte| format!("{byte:02X}")).collect())
    }
}

/// A certificate to be registered. Graph makes the key id, and takes the dates from the certificate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct NewKey {
    #[serde(rename = "type")]
    kind: &'static str,
    usage: &'static str,
    key: String,
    /// The display name. Default: the certificate's subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub display_name: Option<String>,
    /// When it ends for Graph; not later than the certificate. Default: with the certificate, a year at
    /// most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_date_time: Option<DateTime<Utc>>,
}

impl NewKey {
    /// Returns a certificate that verifies client assertions, from its DER bytes. No private key.
    #[must_use]
    pub fn certificate(der: &[u8]) -> Self {
        Self {
            kind: "AsymmetricX509Cert",
            usage: "Verify",
            key: BASE64_STANDARD.encode(der),
            display_name: None,
            end_date_time: None,
        }
    }

    /// Sets the display name.
    #[must_use]
    pub fn named(mut self, display_name: impl Into<String>) -> Self {
        self.display_name = Some(display_name.into());
        self
    }

    pub(crate) fn to_value(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("a key credential has only text keys")
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thumbprint(identifier: &str) -> Option<String> {
        let json = serde_json::json!({ "customKeyIdentifier": identifier });
        serde_json::from_value::<KeyCredential>(json)
            .unwrap()
            .thumbprint()
    }

    #[test]
    fn thumbprints_are_read_in_each_form_that_is_about() {
        let shown = "52ED9B5038A47B9E2E2190715CC238359D4F8F73";

        assert_eq!(thumbprint(shown).as_deref(), Some(shown));
        assert_eq!(
            thumbprint("Uu2bUDike54uIZBxXMI4NZ1Pj3M=").as_deref(),
            Some(shown)
        );
        assert_eq!(thumbprint("VGVzdA=="), None);
        assert_eq!(thumbprint("é"), None);
    }
}
