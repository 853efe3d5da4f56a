use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;
use uuid::Uuid;

use crate::read;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Uuid);

        impl $name {
            /// Returns the identifier as a UUID.
            #[must_use]
            pub const fn as_uuid(&self) -> &Uuid {
                &self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                Uuid::try_parse(text)
                    .map(Self)
                    .map_err(|_| InvalidName { field: stringify!($name), problem: "expected a UUID" })
            }
        }
    };
}

id! {
    /// A connection, for as long as it lives: its name may change, this does not.
    ConnectionId
}

id! {
    /// One rotation of one connection, from its first intent to its confirmation.
    RotationId
}

/// A text that can't name what it should name.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{field}: {problem}")]
pub struct InvalidName {
    field: &'static str,
    problem: &'static str,
}

impl InvalidName {
    /// Returns the name of the field, as in "connection name".
    #[must_use]
    pub fn field(&self) -> &'static str {
        self.field
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Returns the name.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                read::text(from)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl From<$name> for Arc<str> {
            /// Copies nothing: clones of a name share its text.
            fn from(name: $name) -> Self {
                name.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidName;

            fn from_str(text: &str) -> Result<Self, InvalidName> {
                let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
                if (1..=64).contains(&text.len()) && text.chars().all(plain) {
                    Ok(Self(text.into()))
                } else {
                    Err(InvalidName {
                        field: $field,
                        problem: "expected 1 to 64 letters, digits, hyphens, underscores or dots",
                    })
                }
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidName;

            fn try_from(text: String) -> Result<Self, InvalidName> {
                text.parse()
            }
        }
    };
}

name! {
    /// Who reads the outbox, as in `audit-export`. Each consumer has a place of its own in it.
    Consumer, "consumer"
}

name! {
    /// The name of a connection, unique within its [`Namespace`].
    ConnectionName, "connection name"
}

name! {
    /// A tenant of the embedding backend: connections of one namespace never see those of another.
    Namespace, "namespace"
}

impl Default for Namespace {
    /// The namespace of a backend that has no tenants of its own.
    fn default() -> Self {
        Self("default".into())
    }
}

/// The display name that ties a minted secret to the attempt that asked for it.
///
/// `addPassword` has no request id that Graph would recognise, and shows the secret once. What Graph
/// does keep is the display name, so each call gets its own, which is stored before the call is made.
/// It also names the connection and the generation: a marker of another connection on the same
/// application means two owners, and one of a later generation means that the store lost writes.
///
/// ```
/// use keywheel_connection::Marker;
///
/// let text = "keywheel 67e55044-10b1-426f-9247-bb680e5fe0c8 g7 936da01f9abd4d9d80c702af85c822a8";
/// let marker: Marker = text.parse()?;
/// assert_eq!(marker.generation(), 7);
/// assert_eq!(marker.to_string(), text);
/// assert!("CI pipeline".parse::<Marker>().is_err());
/// # Ok::<(), keywheel_connection::InvalidName>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Marker {
    connection: ConnectionId,
    generation: u64,
    attempt: Uuid,
}

impl Marker {
    /// Returns the marker of one attempt to mint the secret of `generation`.
    #[must_use]
    pub fn new(connection: ConnectionId, generation: u64, attempt: Uuid) -> Self {
        Self {
            connection,
            generation,
            attempt,
        }
    }

    /// Returns the connection that minted.
    #[must_use]
    pub fn connection(&self) -> ConnectionId {
        self.connection
    }

    /// Returns the generation that the secret was meant to be.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.generation
    }
}

impl fmt::Display for Marker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            connection,
            generation,
            attempt,
        } = self;
        write!(
            f,
            "keywheel {connection} g{generation} {}",
            attempt.simple()
        )
    }
}

impl FromStr for Marker {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        let mut words = text.split(' ');
        let mut parse = || {
            (words.next()? == "keywheel").then_some(())?;
            let connection = words.next()?.parse().ok()?;
            let generation = words.next()?.strip_prefix('g')?.parse().ok()?;
            let attempt = Uuid::try_parse(words.next()?).ok()?;
            words
                .next()
                .is_none()
                .then_some(Self::new(connection, generation, attempt))
        };
        parse().ok_or(InvalidName {
            field: "marker",
            problem: "not the display name of a secret that keywheel minted",
        })
    }
}

impl Serialize for Marker {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Marker {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read::text(from)
    }
}

impl From<Marker> for String {
    fn from(marker: Marker) -> Self {
        marker.to_string()
    }
}

impl TryFrom<String> for Marker {
    type Error = InvalidName;

    fn try_from(text: String) -> Result<Self, InvalidName> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_what_they_say() {
        for good in ["default", "a", "Prod_eu-1.2", &"x".repeat(64)] {
            assert!(good.parse::<ConnectionName>().is_ok(), "{good}");
        }
        for bad in ["", "two words", "ä", "a/b", &"x".repeat(65)] {
            let error = bad.parse::<ConnectionName>().unwrap_err();
            assert_eq!(error.field(), "connection name", "{bad}");
        }
    }

    #[test]
    fn what_only_looks_like_a_marker_is_not_ours() {
        let ours = Marker::new(Uuid::from_u128(1).into(), 3, Uuid::from_u128(2)).to_string();
        for text in [
            "keywheel",
            "keywheel by hand",
            &ours.replace("g3", "3"),
            &format!("{ours} copy"),
            &format!(" {ours}"),
        ] {
            assert!(text.parse::<Marker>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn markers_survive_the_directory(connection in any::<u128>(), generation in any::<u64>(), attempt in any::<u128>()) {
            let marker = Marker::new(Uuid::from_u128(connection).into(), generation, Uuid::from_u128(attempt));
            prop_assert_eq!(marker.to_string().parse::<Marker>(), Ok(marker));
            prop_assert!(marker.to_string().len() <= 120);
        }
    }
}
