use chrono::{DateTime, Utc};
use http::header::CONTENT_TYPE;
use serde_json::{Map, Value};
use uuid::Uuid;

use super::GraphError;
use crate::call::Call;

/// Reads a JSON object from a request.
pub(crate) fn object(call: &Call) -> Result<Map<String, Value>, GraphError> {
    let kind = call.header(CONTENT_TYPE.as_str()).ok_or_else(|| {
        GraphError::bad_request(
            "Write requests (excluding DELETE) must contain the Content-Type header declaration.",
        )
    })?;
    if call.body.is_empty() {
        return Err(GraphError::bad_request(
            "Empty Payload. JSON content expected.",
        ));
    }
    let is_json = kind.to_ascii_lowercase().contains("json");
    let parsed = is_json
        .then(|| serde_json::from_slice(&call.body).ok())
        .flatten();
    match parsed {
        Some(Value::Object(object)) => Ok(object),
        _ => Err(GraphError::bad_request(
            "Unable to read JSON request payload. Please ensure Content-Type header is set and payload is \
             of valid JSON format.",
        )),
    }
}

/// Reads the parameters of an action, refusing those it does not have.
pub(crate) fn parameters(
    call: &Call,
    action: &str,
    known: &[&str],
) -> Result<Map<String, Value>, GraphError> {
    let object = object(call)?;
    match object.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(GraphError::bad_request(format!(
            "The parameter '{name}' in the request payload is not a valid parameter for the operation '{action}'."
        ))),
        None => Ok(object),
    }
}

/// Reads a GUID that must be there.
pub(crate) fn guid(object: &Map<String, Value>, name: &str) -> Result<Uuid, GraphError> {
    match object.get(name) {
        Some(Value::String(text)) => {
            Uuid::try_parse(text).map_err(|_| GraphError::literal(text, "Edm.Guid"))
        }
        None | Some(Value::Null) => Err(GraphError::bad_request(format!(
            "Required parameter '{name}' is missing from the request payload."
        ))),
        Some(other) => Err(GraphError::literal(&other.to_string(), "Edm.Guid")),
    }
}

/// Reads a text that may be missing or null.
pub(crate) fn text(object: &Map<String, Value>, name: &str) -> Result<Option<String>, GraphError> {
    match object.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(GraphError::literal(&other.to_string(), "Edm.String")),
    }
}

/// Reads a time that may be missing or null.
pub(crate) fn date(
    object: &Map<String, Value>,
    name: &str,
) -> Result<Option<DateTime<Utc>>, GraphError> {
    text(object, name)?
        .map(|text| {
            DateTime::parse_from_rfc3339(&text)
                .map(|time| time.to_utc())
                .map_err(|_| GraphError::literal(&text, "Edm.DateTimeOffset"))
        })
        .transpose()
}
