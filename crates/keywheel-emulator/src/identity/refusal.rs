use chrono::{DateTime, Utc};
use http::header::{
    CACHE_CONTROL, EXPIRES, PRAGMA, SET_COOKIE, STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderName, HeaderValue, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use crate::Behaviours;
use crate::call::{Ids, Reply};

/// Why the token service says no, in its own words.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) error: &'static str,
    pub(crate) code: u32,
    pub(crate) text: String,
    pub(crate) suberror: Option<&'static str>,
}

impl Refusal {
    pub(crate) fn new(
        status: u16,
        error: &'static str,
        code: u32,
        text: impl Into<String>,
    ) -> Self {
        Self {
            status,
            error,
            code,
            text: text.into(),
            suberror: None,
        }
    }

    pub(crate) fn invalid_client(code: u32, text: impl Into<String>) -> Self {
        Self::new(401, "invalid_client", code, text)
    }

    pub(crate) fn invalid_grant(code: u32, text: impl Into<String>) -> Self {
        Self::new(400, "invalid_grant", code, text)
    }

    pub(crate) fn invalid_request(code: u32, text: impl Into<String>) -> Self {
        Self::new(400, "invalid_request", code, text)
    }

    pub(crate) fn with_suberror(mut self, suberror: &'static str) -> Self {
        self.suberror = Some(suberror);
        self
    }

    pub(crate) fn missing(parameter: &str) -> Self {
        Self::invalid_request(
            900_144,
            format!("The request body must contain the following parameter: '{parameter}'."),
        )
    }

    pub(crate) fn malformed() -> Self {
        Self::invalid_request(
            9_002_313,
            "Invalid request. Request is malformed or invalid.",
        )
    }

    pub(crate) fn tenant_not_found(tenant: &str) -> Self {
        Self::invalid_request(
            90_002,
            format!(
                "Tenant '{tenant}' not found. Check to make sure you have the correct tenant ID and are \
                 signing into the correct cloud. Check with your subscription administrator, this may \
                 happen if there are no active subscriptions for the tenant."
            ),
        )
    }

    pub(crate) fn application_not_found(client_id: &str, tenant: &str) -> Self {
        Self::new(
            400,
            "unauthorized_client",
            700_016,
            format!(
                "Application with identifier '{client_id}' was not found in the directory '{tenant}'. This \
                 can happen if the application has not been installed by the administrator of the tenant \
                 or consented to by any user in the tenant. You may have sent your authentication request \
                 to the wrong tenant."
            ),
        )
    }

    pub(crate) fn wrong_secret(client_id: Uuid) -> Self {
        Self::invalid_client(
            7_000_215,
            format!(
                "Invalid client secret provided. Ensure the secret being sent in the request is the client \
                 secret value, not the client secret ID, for a secret added to app '{client_id}'."
            ),
        )
    }

    pub(crate) fn expired_secret(client_id: Uuid) -> Self {
        Self::invalid_client(
            7_000_222,
            format!(
                "The provided client secret keys for app '{client_id}' are expired. Visit the Azure portal \
                 to create new keys for your app: https://aka.ms/NewClientSecret, or consider using \
                 certificate credentials for added security: https://aka.ms/certCreds."
            ),
        )
    }

    pub(crate) fn malformed_grant() -> Self {
        Self::invalid_grant(
            9_002_313,
            "Invalid request. Request is malformed or invalid.",
        )
    }

    /// Returns what the service says with a status that somebody asked for.
    pub(crate) fn of_status(status: u16) -> Self {
        let transient = "A transient error has occurred. Please try again.";
        match status {
            401 => Self::invalid_client(70_002, "Error validating credentials."),
            413 => Self::new(413, "invalid_request", 90_015, "The request is too long."),
            503 => Self::new(503, "temporarily_unavailable", 90_033, transient),
            500.. => Self::new(status, "server_error", 90_033, transient),
            _ => Self {
                status,
                ..Self::malformed()
            },
        }
    }

    /// Renders the refusal as the token endpoint sends it. The separators and single statuses can be set.
    pub(crate) fn reply(
        &self,
        ids: Ids,
        now: DateTime<Utc>,
        behaviours: &Behaviours,
        origin: &str,
    ) -> Reply {
        let body = Body {
            error: self.error,
            error_description: self.description(ids, now, behaviours),
            error_codes: [self.code],
            timestamp: timestamp(now),
            trace_id: ids.request,
            correlation_id: ids.correlation,
            error_uri: self.uri(origin),
            suberror: self.suberror,
        };
        let code = self.code.to_string();
        let status = behaviours
            .statuses
            .get(&code)
            .copied()
            .unwrap_or(self.status);
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
        let mut reply = Reply::json(status, &body);
        reply.note.code = Some(code);
        reply
    }

    pub(crate) fn description(
        &self,
        ids: Ids,
        now: DateTime<Utc>,
        behaviours: &Behaviours,
    ) -> String {
        let gap = if behaviours.line_breaks { "\r\n" } else { " " };
        format!(
            "AADSTS{}: {}{gap}Trace ID: {}{gap}Correlation ID: {}{gap}Timestamp: {}",
            self.code,
            self.text,
            ids.request,
            ids.correlation,
            timestamp(now)
        )
    }

    /// Returns the look-up page's address for the codes that have been recorded with one.
    pub(crate) fn uri(&self, origin: &str) -> Option<String> {
        const KNOWN: [u32; 3] = [53_003, 500_011, 7_000_215];
        KNOWN
            .contains(&self.code)
            .then(|| format!("{origin}/error?code={}", self.code))
    }
}

/// In the order in which the service writes them.
#[derive(Serialize)]
struct Body<'a> {
    error: &'a str,
    error_description: String,
    error_codes: [u32; 1],
    timestamp: String,
    trace_id: Uuid,
    correlation_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_uri: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    suberror: Option<&'a str>,
}

/// Writes a time as token errors do.
pub(crate) fn timestamp(now: DateTime<Utc>) -> String {
    now.format("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Adds the headers that every answer of the login host has.
pub(crate) fn login_headers(reply: &mut Reply, trace: &str) {
    reply.set(
        STRICT_TRANSPORT_SECURITY,
        "max-age=31536000; includeSubDomains",
    );
    reply.set(X_CONTENT_TYPE_OPTIONS, "nosniff");
    reply.set(HeaderName::from_static("x-ms-request-id"), trace);
    reply.set(
        HeaderName::from_static("x-ms-ests-server"),
        "2.1.0 - EMULATOR ProdSlices",
    );
}

/// Adds the headers that every answer of the token endpoint has.
pub(crate) fn token_headers(reply: &mut Reply) {
    reply.set(CACHE_CONTROL, "no-store, no-cache");
    reply.set(PRAGMA, "no-cache");
    reply.set(EXPIRES, "-1");
    reply.set(P3P, r#"CP="DSP CUR OTPi IND OTRi ONL FIN""#);
    let code = reply.note.code.as_deref().unwrap_or("0");
    let telemetry = format!("1,{code},0,,");
    reply.set(CLIENT_TELEMETRY, &telemetry);
    for cookie in COOKIES {
        let value = HeaderValue::from_static(cookie);
        reply.headers.append(SET_COOKIE, value);
    }
}

const P3P: HeaderName = HeaderName::from_static("p3p");
const CLIENT_TELEMETRY: HeaderName = HeaderName::from_static("x-ms-clitelem");
/// Which part of the service answered. Clients with a cookie jar bring them again; nobody needs them.
const COOKIES: [&str; 2] = [
    "x-ms-gateway-slice=estsfd; path=/; secure; httponly",
    "stsservicecookie=estsfd; path=/; secure; httponly",
];
