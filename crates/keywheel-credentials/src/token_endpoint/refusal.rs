use chrono::{DateTime, TimeDelta, Utc};
use http::response::Parts;
use http::{HeaderMap, StatusCode};
use keywheel_core::{CredentialError, CredentialErrorKind, EntraRefusal, answered_at, retry_after};
use serde_json::{Map, Value};
use uuid::Uuid;

use super::form::Form;
use crate::advice::{self, Advice};
use crate::wording::{Description, identifier};

/// A request that was refused, and what is needed to say so.
#[derive(Debug)]
pub(crate) struct Refused<'a> {
    pub(super) form: &'a Form,
    pub(super) request_id: Uuid,
    pub(super) now: DateTime<Utc>,
}

/// A claims challenge has to be sent back whole, so it has room; more is not a challenge.
const LONGEST_CLAIMS: usize = 16 << 10;

/// Larger bodies are not worth reading: Entra's refusals have one or two kilobytes.
const LONGEST_BODY: usize = 256 << 10;

impl Refused<'_> {
    /// Explains an answer whose status is not a success.
    pub(super) fn read(&self, head: &Parts, body: &[u8]) -> CredentialError {
        let asked = retry_after(&head.headers, self.now);
        let body = body.get(..LONGEST_BODY).unwrap_or(body);
        let error = match serde_json::from_slice(body) {
            Ok(Value::Object(fields)) if fields.contains_key("error") => {
                self.refused(head, &fields)
            }
            _ => self.unexplained(head.status),
        };
        error.with_retry_after(asked)
    }

    /// Explains an answer that claims success and isn't one.
    pub(super) fn flawed(&self, flaw: &str) -> CredentialError {
        let request = self.request_id;
        let message = format!(
            "the token endpoint's answer {flaw} (client request id {request}): check the authority \
             address, and look for a proxy that answers in its place"
        );
        CredentialError::new(CredentialErrorKind::Protocol, message)
    }

    fn refused(&self, head: &Parts, fields: &Map<String, Value>) -> CredentialError {
        // A server may repeat what it was sent.
        let description = Description::of(&self.form.redact(raw_description(fields)));
        let refusal = self.refusal(fields, &description);
        let advice = advise(head.status, &refusal);
        let kind = if self.form.grant_type().has_user() {
            advice.kind
        } else {
            without_user(advice.kind)
        };
        let mut message = message(advice, &refusal, self.request_id);
        if refusal.codes.contains(&OUT_OF_TIME)
            && let Some(skew) = skew(&head.headers, self.now)
        {
            message += &in_words(skew);
        }
        let error = CredentialError::new(kind, message).with_refusal(refusal);
        if description.is_empty() {
            return error;
        }
        error.with_source(description)
    }

    fn refusal(&self, fields: &Map<String, Value>, description: &Description) -> EntraRefusal {
        let word = |value: &Value| identifier(&self.form.redact(value.as_str()?));
        let name = |name: &str| word(fields.get(name)?);
        let mut refusal = EntraRefusal::default();
        refusal.error = name("error")
            .or_else(|| word(fields.get("error")?.get("code")?))
            .unwrap_or_else(|| "error".to_owned());
        refusal.codes = codes(fields.get("error_codes"), description);
        refusal.correlation_id = name("correlation_id");
        refusal.trace_id = name("trace_id");
        refusal.suberror = name("suberror");
        refusal.claims = fields
            .get("claims")
            .and_then(Value::as_str)
            .filter(|claims| !claims.is_empty() && claims.len() <= LONGEST_CLAIMS)
            .map(str::to_owned);
        refusal
    }

    /// An answer from a gateway or a proxy: plain text, HTML, nothing at all.
    fn unexplained(&self, status: StatusCode) -> CredentialError {
        let (kind, then) = match status {
            StatusCode::TOO_MANY_REQUESTS => {
                (CredentialErrorKind::Throttled, "wait before asking again")
            }
            StatusCode::REQUEST_TIMEOUT => (CredentialErrorKind::Unavailable, "try again"),
            status if status.is_server_error() => {
                (CredentialErrorKind::Unavailable, "try again later")
            }
            _ => (
                CredentialErrorKind::Protocol,
                "check the authority address, and look for a proxy that answers in its place",
            ),
        };
        let (code, request) = (status.as_u16(), self.request_id);
        let message = format!(
            "the token endpoint answered {code} without an explanation (client request id {request}): {then}"
        );
        CredentialError::new(kind, message)
    }
}

/// An assertion was presented before or after its time.
const OUT_OF_TIME: u32 = 700_024;

pub(super) fn is_out_of_time(error: &CredentialError) -> bool {
    error
        .refusal()
        .is_some_and(|refusal| refusal.codes.contains(&OUT_OF_TIME))
}

/// How far clocks may be apart and still agree.
pub(super) const AGREEING: TimeDelta = TimeDelta::seconds(30);

/// Returns how far our clock, which showed `sent_at`, is ahead of that of whoever answered with these
/// headers, unless they agree.
pub(super) fn skew(headers: &HeaderMap, sent_at: DateTime<Utc>) -> Option<TimeDelta> {
    let ahead = sent_at - answered_at(headers)?;
    (ahead.abs() > AGREEING).then_some(ahead)
}

fn in_words(ahead: TimeDelta) -> String {
    let way = if ahead < TimeDelta::zero() {
        "behind"
    } else {
        "ahead of"
    };
    let seconds = (ahead.num_milliseconds().abs() + 500) / 1000;
    format!("; it is {seconds} seconds {way} Entra's (NTP sets it)")
}

fn advise(status: StatusCode, refusal: &EntraRefusal) -> Advice {
    let known = advice::on_codes(&refusal.codes);
    let advice = *known.unwrap_or_else(|| advice::on_error(&refusal.error));
    let kind = match status {
        StatusCode::TOO_MANY_REQUESTS => CredentialErrorKind::Throttled,
        status if status.is_server_error() && known.is_none() => CredentialErrorKind::Unavailable,
        _ => advice.kind,
    };
    Advice { kind, ..advice }
}

/// Nobody can sign in on behalf of an application: what a user would have to do, an administrator has.
fn without_user(kind: CredentialErrorKind) -> CredentialErrorKind {
    match kind {
        CredentialErrorKind::InteractionRequired => CredentialErrorKind::Denied,
        kind => kind,
    }
}

fn message(advice: Advice, refusal: &EntraRefusal, request_id: Uuid) -> String {
    let code = match refusal.codes.first() {
        Some(code) => format!("AADSTS{code}"),
        None => refusal.error.clone(),
    };
    let ours = request_id.to_string();
    let correlation = refusal.correlation_id.as_ref().unwrap_or(&ours);
    let Advice { what, then, .. } = advice;
    format!("{what} ({code}, correlation id {correlation}): {then}")
}

/// The codes as numbers or as texts, or else those that the description names.
fn codes(listed: Option<&Value>, description: &Description) -> Vec<u32> {
    let number = |value: &Value| match value {
        Value::Number(number) => u32::try_from(number.as_u64()?).ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    let listed = listed.and_then(Value::as_array).into_iter().flatten();
    let codes: Vec<u32> = listed.filter_map(number).take(8).collect();
    if codes.is_empty() {
        return description.code().into_iter().collect();
    }
    codes
}

fn raw_description(fields: &Map<String, Value>) -> &str {
    let own = fields.get("error_description").and_then(Value::as_str);
    let nested = || fields.get("error")?.get("message")?.as_str();
    own.or_else(nested).unwrap_or_default()
}

#[cfg(test)]
mod tests;
