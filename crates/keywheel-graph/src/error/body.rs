use http::header::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use super::Detail;

/// What is kept of an error body: it comes from outside, so little and cut short.
#[derive(Debug, Default)]
pub(crate) struct Body {
    pub(crate) code: Option<String>,
    pub(crate) message: Option<String>,
    pub(crate) target: Option<String>,
    pub(crate) details: Vec<Detail>,
    pub(crate) request_id: Option<String>,
}

impl Body {
    /// Reads Graph's error shape. Proxies answer with HTML, and old gateways write `message` and `details`
    /// as objects.
    pub(crate) fn read(body: &[u8]) -> Self {
        serde_json::from_slice(body)
            .map(|body: Value| Self::of(&body))
            .unwrap_or_default()
    }

    /// Reads the body of one answer of a batch.
    pub(crate) fn of(body: &Value) -> Self {
        #[derive(Default, Deserialize)]
        #[serde(default)]
        struct Error {
            code: Value,
            message: Value,
            target: Value,
            details: Value,
            #[serde(rename = "innerError", alias = "innererror")]
            inner: Value,
        }
        let error = Error::deserialize(&body["error"]).unwrap_or_default();
        let message = error
            .message
            .as_str()
            .or_else(|| error.message["value"].as_str());
        let details = error.details.as_array().map_or(&[][..], Vec::as_slice);
        Self {
            code: error.code.as_str().map(|code| cut(code, 100)),
            message: message.map(|message| cut(message, 300)),
            target: error.target.as_str().map(|target| cut(target, 100)),
            details: details.iter().take(8).map(Detail::of).collect(),
            request_id: error.inner["request-id"].as_str().map(|id| cut(id, 64)),
        }
    }
}

pub(super) fn cut(text: &str, limit: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(limit)
        .collect()
}

pub(super) fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    headers.get(name)?.to_str().ok().map(|text| cut(text, 64))
}
