use http::StatusCode;
use serde_json::json;

use crate::call::{Call, Reply};
use crate::world::Service;

/// Answers a request to `/_emulator/…`.
pub(crate) fn answer(_service: &Service, call: &Call) -> Reply {
    match call.segments.get(1).map(String::as_str) {
        Some("health") => Reply::json(StatusCode::OK, &json!({ "status": "ready" })),
        _ => Reply::json(
            StatusCode::NOT_FOUND,
            &json!({ "error": "no such admin path" }),
        ),
    }
}
