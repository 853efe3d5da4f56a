//! How values stand in Graph's JSON.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the empty value: Graph leaves collections out, or writes `null`.
pub(crate) fn nullable<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Option::deserialize(deserializer).map(Option::unwrap_or_default)
}
