use std::fmt;
use std::marker::PhantomData;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

/// A text that is not the identifier it should be.
///
/// The message names the field and what it expects. It never repeats the text: people paste secrets into
/// the wrong box.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct InvalidId {
    field: &'static str,
    problem: &'static str,
}

impl InvalidId {
    /// Returns the name of the field, as in "tenant id".
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

macro_rules! guid {
    ($(#[$doc:meta])* $name:ident, $field:literal, $hint:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Uuid);

        impl $name {
            /// Returns the identifier as a UUID.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                id.to_string()
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                hyphenated(text).map(Self).ok_or(InvalidId { field: $field, problem: $hint })
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidId;

            fn try_from(text: String) -> Result<Self, InvalidId> {
                text.parse()
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let mut text = Uuid::encode_buffer();
                serializer.serialize_str(self.0.hyphenated().encode_lower(&mut text))
            }
        }

        impl<'de> Deserialize<'de> for $name {
            /// Reads without a copy: lists hold millions of them.
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                deserializer.deserialize_str(Text(PhantomData))
            }
        }
    };
}

guid! {
    /// The *application (client) ID* of an app registration: Graph's `appId`.
    ///
    /// Not to be confused with the [`ApplicationObjectId`], the `id` of the same registration.
    ClientId, "client id", "expected a GUID, the \"Application (client) ID\" on the overview page of the app registration"
}

guid! {
    /// The object id (`id`) of an application object: what `/applications/{id}` is addressed by.
    ApplicationObjectId, "application object id", "expected a GUID, the \"Object ID\" on the overview page of the app registration"
}

guid! {
    /// The object id of a service principal (an *enterprise application*) in one tenant.
    ServicePrincipalObjectId, "service principal object id", "expected a GUID, the \"Object ID\" on the page of the enterprise application"
}

guid! {
    /// The `keyId` of a password or key credential. The portal calls it *Secret ID*.
    KeyId, "key id", "expected a GUID, the \"Secret ID\" column under \"Certificates & secrets\""
}

/// A tenant: the *directory (tenant) ID*, or one of the tenant's verified domains.
///
/// `common`, `organizations` and `consumers` are not tenants and are refused: an application's own
/// token comes from exactly one tenant (AADSTS9001023 otherwise).
///
/// ```
/// use keywheel_core::TenantId;
///
/// assert!("8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11".parse::<TenantId>().is_ok());
/// assert!("contoso.onmicrosoft.com".parse::<TenantId>().is_ok());
/// assert!("common".parse::<TenantId>().is_err());
/// assert!("contoso/../evil".parse::<TenantId>().is_err());
/// ```
///
/// Clones share the text.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TenantId(Arc<str>);

impl TenantId {
    /// Returns the tenant in lower case, as it stands in URLs.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the GUID, or `None` for a domain.
    #[must_use]
    pub fn guid(&self) -> Option<Uuid> {
        hyphenated(&self.0)
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> Self {
        tenant.as_str().to_owned()
    }
}

impl FromStr for TenantId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        if hyphenated(text).is_some() || is_domain(text) {
            Ok(Self(text.to_ascii_lowercase().into()))
        } else {
            Err(InvalidId {
                field: "tenant id",
                problem: "expected a GUID (the \"Directory (tenant) ID\") or a verified domain such as \
                          contoso.onmicrosoft.com",
            })
        }
    }
}

impl TryFrom<String> for TenantId {
    type Error = InvalidId;

    fn try_from(text: String) -> Result<Self, InvalidId> {
        text.parse()
    }
}

impl Serialize for TenantId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for TenantId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(Text(PhantomData))
    }
}

/// Reads a text from the place where it stands.
struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err = InvalidId>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an identifier")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// Entra writes GUIDs hyphenated and without braces; other spellings are more likely a mistake.
fn hyphenated(text: &str) -> Option<Uuid> {
    (text.len() == 36)
        .then(|| Uuid::try_parse(text).ok())
        .flatten()
}

/// A domain with at least two labels of letters, digits and inner hyphens (RFC 1123, section 2.1).
fn is_domain(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let numeric = |label: &str| label.bytes().all(|b| b.is_ascii_digit());

    text.len() <= 253
        && text.contains('.')
        && text.split('.').all(label)
        && !text.rsplit('.').next().is_some_and(numeric)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GUID: &str = "8D2B0B4F-54a8-4a8f-9c4e-3c1f0a8f3f11";

    #[test]
    fn guids_compare_without_case() {
        assert_eq!(
            GUID.parse::<KeyId>(),
            GUID.to_ascii_lowercase().parse::<KeyId>()
        );
    }

    #[test]
    fn version_bits_of_a_key_id_do_not_matter() {
        assert!(
            "ffffffff-ffff-ffff-ffff-ffffffffffff"
                .parse::<KeyId>()
                .is_ok()
        );
    }

    #[test]
    fn refused_text_is_not_repeated() {
        let error = "s3cr3t~value".parse::<ClientId>().unwrap_err();

        assert_eq!(error.field(), "client id");
        assert!(!error.to_string().contains("s3cr3t"), "{error}");
    }

    #[test]
    fn what_is_not_a_tenant_is_refused() {
        for text in [
            "",
            "common",
            "organizations",
            "consumers",
            "contoso",
            "contoso..com",
            "-contoso.com",
            "contoso.com/",
            "contoso.com?x=1",
            "127.0.0.1",
            "{8d2b0b4f-54a8-4a8f-9c4e-3c1f0a8f3f11}",
            "8d2b0b4f54a84a8f9c4e3c1f0a8f3f11",
            "con toso.com",
            "contoso.com\n",
        ] {
            assert!(text.parse::<TenantId>().is_err(), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn a_tenant_never_changes_the_path_of_a_url(text in ".{0,60}") {
            if let Ok(tenant) = text.parse::<TenantId>() {
                let url = url::Url::parse(&format!("https://login.example/{tenant}/x")).unwrap();
                prop_assert_eq!(url.path(), format!("/{tenant}/x"));
            }
        }

        #[test]
        fn ids_survive_serde(bits in any::<u128>()) {
            let id = KeyId::from(Uuid::from_u128(bits));
            let json = serde_json::to_string(&id).unwrap();
            prop_assert_eq!(serde_json::from_str::<KeyId>(&json).unwrap(), id);
        }
    }
}
