use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The fields of an answer that mean something here.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) access_token: Field,
    pub(super) expires_in: Field,
    pub(super) expires_on: Field,
    pub(super) id_token: Field,
    pub(super) refresh_in: Field,
    pub(super) refresh_token: Field,
    pub(super) scope: Field,
    pub(super) token_type: Field,
}

impl Answer {
    /// Reads an object; serde would take a list of the fields' values for one too.
    pub(super) fn read(body: &[u8]) -> Option<Self> {
        let body = body.trim_ascii_start();
        let answer = body.starts_with(b"{").then(|| serde_json::from_slice(body));
        answer?.ok()
    }
}

/// Whatever a field holds: one that is not as it should be takes none of the others with it.
#[derive(Default)]
pub(super) enum Field {
    Number(f64),
    Text(String),
    #[default]
    Useless,
}

impl Field {
    /// Returns a number, which may stand in a text.
    pub(super) fn number(&self) -> Option<f64> {
        let number = match self {
            Self::Number(number) => *number,
            Self::Text(text) => text.trim().parse().ok()?,
            Self::Useless => return None,
        };
        number.is_finite().then_some(number)
    }

    /// Moves a text out, so that it is not copied.
    pub(super) fn text(self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text),
            Self::Number(_) | Self::Useless => None,
        }
    }
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(Reader)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Field;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("anything")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Field, E> {
        Ok(Field::Text(text.to_owned()))
    }

    fn visit_string<E: Error>(self, text: String) -> Result<Field, E> {
        Ok(Field::Text(text))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Field, E> {
        Ok(Field::Number(number))
    }

    #[expect(clippy::cast_precision_loss, reason = "exact for 285 million years")]
    fn visit_i64<E: Error>(self, number: i64) -> Result<Field, E> {
        Ok(Field::Number(number as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "exact for 285 million years")]
    fn visit_u64<E: Error>(self, number: u64) -> Result<Field, E> {
        Ok(Field::Number(number as f64))
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Field, E> {
        Ok(Field::Useless)
    }

    fn visit_unit<E: Error>(self) -> Result<Field, E> {
        Ok(Field::Useless)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Field::Useless)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<Field, A::Error> {
        while items.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Field::Useless)
    }
}
