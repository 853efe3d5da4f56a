//! Times in seeds: TOML's own or, as in JSON, texts.

use chrono::{DateTime, Utc};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Text(String),
    Toml(toml::value::Datetime),
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let form = || D::Error::custom("expected a time with its offset, such as 2026-01-01T00:00:00Z");
    let text = match Written::deserialize(from).map_err(|_| form())? {
        Written::Text(text) => text,
        Written::Toml(time) => time.to_string(),
    };
    let time = DateTime::parse_from_rfc3339(&text).map_err(|_| form())?;
    Ok(Some(time.to_utc()))
}
