use std::fmt;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde::Serialize;
use url::form_urlencoded;
use uuid::Uuid;

use crate::random;

/// A request, read whole.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) method: Method,
    /// `https://host:port` as the client wrote it: links in answers lead back the same way.
    pub(crate) origin: String,
    /// The path as it came, still encoded.
    pub(crate) path: String,
    /// The path's parts, decoded.
    pub(crate) segments: Vec<String>,
    pub(crate) query: Pairs,
    /// The body as a form, when it says that it is one.
    pub(crate) form: Pairs,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) surface: Surface,
}

/// What a listener serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    Both,
    Graph,
    Login,
}

impl Call {
    /// Builds a call from what HTTP brings. `origin` stands in where there is no usable `Host`.
    pub(crate) fn new(
        parts: &http::request::Parts,
        body: Bytes,
        origin: &str,
        surface: Surface,
    ) -> Self {
        let path = parts.uri.path();
        Self {
            method: parts.method.clone(),
            origin: origin_of(parts, origin),
            path: path.to_owned(),
            segments: path.split('/').skip(1).map(decode_segment).collect(),
            query: Pairs::parse(parts.uri.query().unwrap_or_default().as_bytes()),
            form: if is_form(&parts.headers) {
                Pairs::parse(&body)
            } else {
                Pairs::default()
            },
            headers: parts.headers.clone(),
            body,
            surface,
        }
    }

    /// Builds the `GET` that a browser sends for an address.
    pub(crate) fn get(address: &str, origin: &str) -> Option<Self> {
        let url = url::Url::parse(address).ok()?;
        let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let request = http::Request::get(target).body(()).ok()?;
        let (parts, ()) = request.into_parts();
        let mut call = Self::new(&parts, Bytes::new(), origin, Surface::Login);
        call.origin = url.origin().ascii_serialization();
        Some(call)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the id by which the client wants to find this call again, when it is a GUID.
    pub(crate) fn client_request_id(&self) -> Option<Uuid> {
        self.header("client-request-id")
            .and_then(|id| Uuid::try_parse(id.trim()).ok())
    }
}

fn is_form(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok());
    kind.and_then(|kind| kind.split(';').next())
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case(FORM))
}

fn origin_of(parts: &http::request::Parts, fallback: &str) -> String {
    let scheme = fallback.split("://").next().unwrap_or("https");
    let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    match host.or_else(|| parts.uri.authority().map(http::uri::Authority::as_str)) {
        Some(host) if host.parse::<http::uri::Authority>().is_ok() => format!("{scheme}://{host}"),
        _ => fallback.to_owned(),
    }
}

/// Decodes percent-escapes. What is no escape stays as it is, as servers do.
fn decode_segment(segment: &str) -> String {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| tail.get(..2))
            .flatten()
            .and_then(hex_byte);
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(digits: &[u8]) -> Option<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(digits[0])? * 16 + digit(digits[1])?).ok()
}

/// Names and values, in the order they came: a query or a form.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Pairs(pub(crate) Vec<(String, String)>);

impl Pairs {
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    /// Returns the first value of `name` that is not empty.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, value)| key == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }

    /// Returns a name that comes twice.
    pub(crate) fn duplicate(&self) -> Option<&str> {
        self.0
            .iter()
            .enumerate()
            .find(|(place, (name, _))| self.0[..*place].iter().any(|(earlier, _)| earlier == name))
            .map(|(_, (name, _))| name.as_str())
    }

    /// Writes the pairs for a URL or a form.
    pub(crate) fn encoded(&self) -> String {
        form_urlencoded::Serializer::new(String::new())
            .extend_pairs(&self.0)
            .finish()
    }
}

/// Names only: the values may be secrets.
impl fmt::Debug for Pairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|(name, _)| name))
            .finish()
    }
}

/// An answer, and what the log wants to know of how it came about.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    pub(crate) note: Note,
}

/// For the log.
#[derive(Clone, Debug, Default)]
pub(crate) struct Note {
    /// The application that called, once it is known.
    pub(crate) client_id: Option<Uuid>,
    /// The AADSTS or Graph code of a refusal.
    pub(crate) code: Option<String>,
}

impl Reply {
    pub(crate) fn empty(status: StatusCode) -> Self {
        Self {
            status,
            headers: HeaderMap::new(),
            body: Bytes::new(),
            note: Note::default(),
        }
    }

    pub(crate) fn json(status: StatusCode, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body).expect("answers have text keys");
        Self::text(status, JSON, body)
    }

    pub(crate) fn html(status: StatusCode, body: String) -> Self {
        let mut reply = Self::text(status, "text/html; charset=utf-8", body);
        reply.set(CACHE_CONTROL, "no-store, no-cache");
        reply
    }

    pub(crate) fn text(status: StatusCode, kind: &'static str, body: String) -> Self {
        let mut reply = Self::empty(status);
        reply
            .headers
            .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        reply.body = body.into();
        reply
    }

    pub(crate) fn redirect(to: &str) -> Self {
        let mut reply = Self::empty(StatusCode::FOUND);
        reply.set(LOCATION, to);
        reply.set(CACHE_CONTROL, "no-store, no-cache");
        reply
    }

    /// Sets a header; a value that HTTP can't carry is left out.
    pub(crate) fn set(&mut self, name: HeaderName, value: &str) {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
    }

    pub(crate) fn of_client(mut self, client_id: Uuid) -> Self {
        self.note.client_id = Some(client_id);
        self
    }
}

/// The two ids each answer carries: ours, and the one the client chose or ours again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ids {
    pub(crate) request: Uuid,
    pub(crate) correlation: Uuid,
}

impl Ids {
    pub(crate) fn of(call: &Call) -> Self {
        let request = random::guid();
        Self {
            request,
            correlation: call.client_request_id().unwrap_or(request),
        }
    }
}

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json; charset=utf-8";
