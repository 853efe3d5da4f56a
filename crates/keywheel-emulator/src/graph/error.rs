use chrono::{DateTime, Utc};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, VARY, WWW_AUTHENTICATE};
use http::{HeaderName, StatusCode};
use serde_json::{Value, json};

use crate::Behaviours;
use crate::call::{Call, Ids, Reply};
use crate::directory::Kind;

/// Why Graph says no, in its own words.
#[derive(Clone, Debug)]
pub(crate) struct GraphError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    details: Option<Value>,
    retry_after: Option<u32>,
}

impl GraphError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            details: None,
            retry_after: None,
        }
    }

    /// The OData layer refuses: the request can't be understood.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", message)
    }

    /// The directory refuses: the request makes no sense to it.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::new(400, "Request_BadRequest", message)
    }

    pub(crate) fn unauthenticated(message: &str) -> Self {
        Self::new(401, "InvalidAuthenticationToken", message)
    }

    pub(crate) fn forbidden() -> Self {
        Self::new(
            403,
            "Authorization_RequestDenied",
            "Insufficient privileges to complete the operation.",
        )
    }

    pub(crate) fn not_found(id: &str) -> Self {
        Self::new(
            404,
            "Request_ResourceNotFound",
            format!(
                "Resource '{id}' does not exist or one of its queried reference-property objects are not present."
            ),
        )
    }

    pub(crate) fn unknown_tenant() -> Self {
        Self::new(
            401,
            "InvalidAuthenticationToken",
            "The tenant of the access token does not exist here.",
        )
    }

    pub(crate) fn unserved(call: &Call) -> Self {
        Self::new(
            404,
            "ResourceNotFound",
            format!("the emulator does not serve {} {}", call.method, call.path),
        )
    }

    pub(crate) fn method_not_allowed() -> Self {
        Self::new(
            405,
            "Request_BadRequest",
            "Specified HTTP method is not allowed for the request target.",
        )
    }

    pub(crate) fn too_many_requests(retry_after: Option<u32>) -> Self {
        Self {
            retry_after,
            ..Self::new(429, "TooManyRequests", "Too Many Requests")
        }
    }

    pub(crate) fn literal(text: &str, expected: &str) -> Self {
        Self::bad_request(format!(
            "Cannot convert the literal '{text}' to the expected type '{expected}'."
        ))
    }

    pub(crate) fn no_property(name: &str, kind: Kind) -> Self {
        Self::bad_request(format!(
            "Could not find a property named '{name}' on type 'microsoft.graph.{}'.",
            kind.type_name()
        ))
    }

    /// Returns what Graph says with a status that somebody asked for.
    pub(crate) fn of_status(status: u16) -> Self {
        let (code, message) = match status {
            400 => ("BadRequest", "The request is malformed."),
            401 => (
                "InvalidAuthenticationToken",
                "Access token has expired or is not yet valid.",
            ),
            403 => (
                "Authorization_RequestDenied",
                "Insufficient privileges to complete the operation.",
            ),
            404 => (
                "Request_ResourceNotFound",
                "Resource does not exist or one of its queried reference-property objects are not present.",
            ),
            409 => (
                "Directory_ConcurrencyViolation",
                "Error due to concurrent requests being made to the tenant. Please wait briefly and retry.",
            ),
            413 => ("RequestEntityTooLarge", "The request body is too large."),
            429 => ("TooManyRequests", "Too Many Requests"),
            500 => ("generalException", "An internal server error occurred."),
            503 => (
                "serviceNotAvailable",
                "The service is temporarily unavailable.",
            ),
            _ => ("UnknownError", ""),
        };
        Self::new(status, code, message)
    }

    pub(crate) fn with_details(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    /// Renders the error as Graph sends it. Single statuses can be set.
    pub(crate) fn reply(&self, ids: Ids, now: DateTime<Utc>, behaviours: &Behaviours) -> Reply {
        let mut error = json!({
            "code": self.code,
            "message": self.message,
            "innerError": {
                "date": now.format("%Y-%m-%dT%H:%M:%S").to_string(),
                "request-id": ids.request,
                "client-request-id": ids.correlation,
            },
        });
        if let Some(details) = &self.details {
            error["details"] = details.clone();
        }
        let status = behaviours
            .statuses
            .get(&self.code)
            .copied()
            .unwrap_or(self.status);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut reply = Reply::json(status, &json!({ "error": error }));
        if status == StatusCode::UNAUTHORIZED {
            reply.set(WWW_AUTHENTICATE, CHALLENGE);
        }
        if let Some(seconds) = self.retry_after {
            reply.set(RETRY_AFTER, &seconds.to_string());
        }
        reply.note.code = Some(self.code.clone());
        reply
    }
}

/// Adds the headers that every answer of Graph has.
pub(crate) fn graph_headers(reply: &mut Reply, ids: Ids) {
    let request = ids.request.to_string();
    reply.set(REQUEST_ID, &request);
    reply.set(CLIENT_REQUEST_ID, &ids.correlation.to_string());
    reply.set(AGS_DIAGNOSTIC, DIAGNOSTIC);
    reply.set(ODATA_VERSION, "4.0");
    reply.set(CACHE_CONTROL, "no-cache");
    reply.set(VARY, "Accept-Encoding");
    if reply.status.is_success()
        && reply
            .headers
            .get(CONTENT_TYPE)
            .is_some_and(|it| it.as_bytes().starts_with(b"application/json"))
    {
        reply.set(CONTENT_TYPE, ODATA_JSON);
    }
}

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");
const CLIENT_REQUEST_ID: HeaderName = HeaderName::from_static("client-request-id");
const AGS_DIAGNOSTIC: HeaderName = HeaderName::from_static("x-ms-ags-diagnostic");
const ODATA_VERSION: HeaderName = HeaderName::from_static("odata-version");
const DIAGNOSTIC: &str = r#"{"ServerInfo":{"DataCenter":"Emulator","Slice":"E","Ring":"1","ScaleUnit":"000","RoleInstance":"EMULATOR"}}"#;
const ODATA_JSON: &str = "application/json;odata.metadata=minimal;odata.streaming=true;IEEE754Compatible=false;charset=utf-8";
const CHALLENGE: &str = r#"Bearer realm="", authorization_uri="https://login.microsoftonline.com/common/oauth2/authorize", client_id="00000003-0000-0000-c000-000000000000""#;
