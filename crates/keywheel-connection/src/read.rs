//! How what is stored is read, without copies of what is only looked at: claims read many records at once.

use std::fmt;
use std::fmt::Display;
use std::marker::PhantomData;
use std::str::FromStr;

use serde::de::value::MapAccessDeserializer;
use serde::de::{DeserializeSeed, Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Reads a value from the text where it stands.
pub(crate) fn text<'de, T, D>(from: D) -> Result<T, D::Error>
where
    T: FromStr<Err: Display>,
    D: Deserializer<'de>,
{
    from.deserialize_str(Text(PhantomData))
}

struct Text<T>(PhantomData<T>);

impl<T: FromStr<Err: Display>> Visitor<'_> for Text<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        text.parse().map_err(E::custom)
    }
}

/// An enum that is stored as one object: a tag that tells the variant, and the variant's fields.
///
/// What serde derives for it keeps all fields aside until it has seen the tag, wherever that stands, which
/// took half the time of reading a record. We write the tag first.
pub(crate) trait Tagged<'de>: Sized {
    /// The name of the tag.
    const TAG: &'static str;

    /// What the tag tells.
    type Variant: Deserialize<'de>;

    /// Reads the fields of a variant.
    fn read<D: Deserializer<'de>>(variant: Self::Variant, fields: D) -> Result<Self, D::Error>;
}

/// Reads an enum whose tag stands before its fields; after some of them it is found as well.
pub(crate) fn tagged<'de, T: Tagged<'de>, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
    from.deserialize_map(Fields(PhantomData))
}

struct Fields<T>(PhantomData<T>);

impl<'de, T: Tagged<'de>> Visitor<'de> for Fields<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object with the field `{}`", T::TAG)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<T, A::Error> {
        let mut before = Map::new();
        while let Some(name) = fields.next_key_seed(Name { tag: T::TAG })? {
            let Some(name) = name else {
                let variant = fields.next_value()?;
                return if before.is_empty() {
                    T::read(variant, MapAccessDeserializer::new(fields))
                } else {
                    read_after(variant, before, fields)
                };
            };
            before.insert(name, fields.next_value()?);
        }
        Err(A::Error::missing_field(T::TAG))
    }
}

fn read_after<'de, T: Tagged<'de>, A: MapAccess<'de>>(
    variant: T::Variant,
    mut all: Map<String, Value>,
    mut rest: A,
) -> Result<T, A::Error> {
    while let Some((name, value)) = rest.next_entry()? {
        all.insert(name, value);
    }
    T::read(variant, Value::Object(all)).map_err(A::Error::custom)
}

/// The name of a field, or nothing for the tag.
struct Name {
    tag: &'static str,
}

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<String>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_identifier(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<String>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok((name != self.tag).then(|| name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use serde::Serialize;
    use serde::de::DeserializeOwned;
    use uuid::Uuid;

    use super::*;
    use crate::{
        Candidate, ConnectionId, Credential, Held, HeldCertificate, Marker, Phase, Sealed, Secrets,
        SignIn,
    };

    const AT: DateTime<Utc> = DateTime::UNIX_EPOCH;

    fn sealed() -> Sealed {
        Sealed::new("key", vec![1, 2, 3])
    }

    fn marker() -> Marker {
        Marker::new(Uuid::from_u128(1).into(), 1, Uuid::from_u128(2))
    }

    fn credentials() -> [Credential; 4] {
        let secrets = Secrets::new(Held::given(sealed(), None, AT));
        [
            Credential::AuthorizationCode(SignIn::new(sealed(), "user", vec![], AT)),
            Credential::Certificate(HeldCertificate::new(sealed(), "AB", AT, AT)),
            Credential::ClientSecret(secrets.clone()),
            Credential::Managed {
                via: ConnectionId::from(Uuid::from_u128(3)),
                secrets,
            },
        ]
    }

    fn phases() -> [Phase; 3] {
        let key_id = Uuid::from_u128(4).into();
        [
            Phase::Idle,
            Phase::Intent {
                marker: marker(),
                since: AT,
            },
            Phase::Proving(Candidate::minted(marker(), key_id, sealed(), None, AT)),
        ]
    }

    fn read<T: DeserializeOwned>(text: &str) -> serde_json::Result<T> {
        serde_json::from_str(text)
    }

    /// Returns the same object with the tag as its last field.
    fn turned(value: &impl Serialize) -> String {
        let Value::Object(fields) = serde_json::to_value(value).unwrap() else {
            panic!("an object");
        };
        let fields = fields
            .iter()
            .map(|(name, value)| format!("\"{name}\":{value}"));
        let (tags, others): (Vec<_>, Vec<_>) = fields
            .partition(|field| field.starts_with("\"method\"") || field.starts_with("\"phase\""));
        format!("{{{}}}", [others, tags].concat().join(","))
    }

    #[test]
    fn a_tag_is_found_wherever_it_stands() {
        for credential in credentials() {
            let text = serde_json::to_string(&credential).unwrap();
            assert!(text.starts_with("{\"method\":"), "{text}");
            assert_eq!(read::<Credential>(&text).unwrap(), credential);
            assert_eq!(
                read::<Credential>(&turned(&credential)).unwrap(),
                credential
            );
        }
        for phase in phases() {
            let text = serde_json::to_string(&phase).unwrap();
            assert!(text.starts_with("{\"phase\":"), "{text}");
            assert_eq!(read::<Phase>(&text).unwrap(), phase);
            assert_eq!(read::<Phase>(&turned(&phase)).unwrap(), phase);
        }
    }

    #[test]
    fn fields_that_are_not_known_are_passed_over() {
        let idle = r#"{"phase":"idle","later":[{"a":1}]}"#;

        assert_eq!(read::<Phase>(idle).unwrap(), Phase::Idle);
        assert_eq!(
            read::<[Phase; 2]>(&format!("[{idle},{idle}]")).unwrap()[1],
            Phase::Idle
        );
    }

    #[test]
    fn what_is_no_variant_is_refused() {
        for text in [
            "{}",
            r#"{"phase":"idly"}"#,
            r#"{"phase":1}"#,
            "\"idle\"",
            r#"{"since":1}"#,
        ] {
            assert!(read::<Phase>(text).is_err(), "{text}");
        }
    }
}
