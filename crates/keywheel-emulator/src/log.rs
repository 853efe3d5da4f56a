use std::collections::VecDeque;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Route;
use crate::call::{Call, Pairs};

/// One request and how it was answered. Secrets are redacted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RequestRecord {
    /// Counts the requests, from 1.
    pub number: u64,
    /// When it came, by the emulator's clock.
    pub at: DateTime<Utc>,
    /// What was asked for.
    pub route: Route,
    /// The HTTP method.
    pub method: String,
    /// The path, without the query.
    pub path: String,
    /// The query, as an object.
    pub query: Value,
    /// The form or JSON body, as an object; null when there is none or it is not readable.
    pub body: Value,
    /// The calling application, once it was known.
    pub client_id: Option<String>,
    /// The status that the service decided on. A fault may have kept it from the client.
    pub status: u16,
    /// The AADSTS or Graph code of a refusal.
    pub code: Option<String>,
    /// Our `request-id` or trace id.
    pub request_id: String,
    /// The fault that struck, in words.
    pub fault: Option<String>,
}

/// Something that the directory or the token service did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct EffectRecord {
    /// Counts the effects, from 1.
    pub number: u64,
    /// When, by the emulator's clock.
    pub at: DateTime<Utc>,
    /// The request that brought it about; none when an administrator's hand did.
    pub request: Option<u64>,
    /// What was done.
    #[serde(flatten)]
    pub effect: Effect,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "effect", rename_all = "snake_case")]
#[non_exhaustive]
#[expect(missing_docs, reason = "the fields are named after what they hold")]
pub enum Effect {
    /// A code for a signed-in user was issued.
    CodeIssued { client_id: String, user: String },
    /// Scopes or roles were consented to.
    Consented {
        client_id: String,
        permissions: Vec<String>,
    },
    /// An application or service principal was created.
    Created { kind: String, object_id: String },
    /// An application or service principal was deleted.
    Deleted { kind: String, object_id: String },
    /// A federated identity credential was added.
    FederatedAdded { client_id: String, id: String },
    /// A federated identity credential was removed.
    FederatedRemoved { client_id: String, id: String },
    /// A certificate was registered.
    KeyAdded { client_id: String, key_id: String },
    /// A certificate was taken out.
    KeyRemoved { client_id: String, key_id: String },
    /// An owner was added.
    OwnerAdded { object_id: String, owner: String },
    /// An owner was removed.
    OwnerRemoved { object_id: String, owner: String },
    /// An app role was granted.
    RoleAssigned { principal: String, role: String },
    /// An app role was taken back.
    RoleRemoved { principal: String, role: String },
    /// A client secret was made.
    SecretAdded {
        client_id: String,
        key_id: String,
        display_name: Option<String>,
        end: DateTime<Utc>,
    },
    /// A client secret was removed.
    SecretRemoved { client_id: String, key_id: String },
    /// All of a user's sign-ins were revoked.
    SessionsRevoked { user: String },
    /// An access token was issued. `credential` is the key id that the client proved itself with.
    TokenIssued {
        client_id: String,
        grant: String,
        credential: Option<String>,
        user: Option<String>,
        expires: DateTime<Utc>,
    },
    /// Properties of an application or service principal changed.
    Updated { kind: String, object_id: String },
}

/// What happened lately, oldest first; the oldest makes room.
#[derive(Clone, Debug, Default)]
pub(crate) struct Log {
    requests: VecDeque<RequestRecord>,
    effects: VecDeque<EffectRecord>,
    request_count: u64,
    effect_count: u64,
}

impl Log {
    pub(crate) fn next_request(&mut self) -> u64 {
        self.request_count += 1;
        self.request_count
    }

    pub(crate) fn request(&mut self, record: RequestRecord) {
        self.requests.push_back(record);
        if self.requests.len() > KEPT {
            self.requests.pop_front();
        }
    }

    pub(crate) fn effect(&mut self, at: DateTime<Utc>, request: Option<u64>, effect: Effect) {
        self.effect_count += 1;
        self.effects.push_back(EffectRecord {
            number: self.effect_count,
            at,
            request,
            effect,
        });
        if self.effects.len() > KEPT {
            self.effects.pop_front();
        }
    }

    /// Returns the requests with a higher number. They stand in the order in which they were answered.
    pub(crate) fn requests_after(&self, number: u64) -> impl Iterator<Item = &RequestRecord> {
        self.requests.iter().filter(move |it| it.number > number)
    }

    pub(crate) fn effects_after(&self, number: u64) -> impl Iterator<Item = &EffectRecord> {
        self.effects.iter().filter(move |it| it.number > number)
    }

    pub(crate) fn clear(&mut self) {
        self.requests.clear();
        self.effects.clear();
    }
}

/// Returns the query without what must not be kept.
pub(crate) fn query_of(call: &Call) -> Value {
    pairs(&call.query)
}

/// Returns the body, form or JSON, without what must not be kept.
pub(crate) fn body_of(call: &Call) -> Value {
    if call.body.is_empty() || call.body.len() > LARGEST_BODY {
        return Value::Null;
    }
    match &call.form {
        form if !form.0.is_empty() => pairs(form),
        _ => serde_json::from_slice(&call.body).map_or(Value::Null, redacted),
    }
}

fn pairs(pairs: &Pairs) -> Value {
    let object: Map<String, Value> = pairs
        .0
        .iter()
        .map(|(name, value)| (name.clone(), named(name, Value::String(value.clone()))))
        .collect();
    Value::Object(object)
}

fn redacted(value: Value) -> Value {
    match value {
        Value::Object(object) => object
            .into_iter()
            .map(|(name, value)| {
                let value = named(&name, value);
                (name, value)
            })
            .collect::<Map<_, _>>()
            .into(),
        Value::Array(list) => list.into_iter().map(redacted).collect(),
        // A token or secret in an unexpected place is still one.
        Value::String(text) if looks_secret(&text) => REDACTED.into(),
        other => other,
    }
}

fn named(name: &str, value: Value) -> Value {
    let name = name.to_ascii_lowercase();
    let secret = SECRETS.iter().any(|secret| name.contains(secret));
    if secret && !value.is_null() && !PLAIN.contains(&name.as_str()) {
        return REDACTED.into();
    }
    redacted(value)
}

/// Tells what has the form of a JSON Web Token or of a client secret.
fn looks_secret(text: &str) -> bool {
    text.starts_with("eyJ") || text.get(4..6) == Some("Q~")
}

/// How many requests, and how many effects, are kept.
const KEPT: usize = 10_000;
const LARGEST_BODY: usize = 64 * 1024;
const REDACTED: &str = "[redacted]";
const SECRETS: [&str; 8] = [
    "secret",
    "assertion",
    "password",
    "passwd",
    "token",
    "proof",
    "code",
    "authorization",
];
/// Names that only look like secrets.
const PLAIN: [&str; 5] = [
    "client_assertion_type",
    "code_challenge_method",
    "passwordcredential",
    "passwordcredentials",
    "$skiptoken",
];

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn secrets_are_redacted_wherever_they_are() {
        let kept = redacted(json!({
            "passwordCredential": {"displayName": "a", "secretText": "hidden"},
            "proof": "eyJhidden",
            "displayName": "abc8Q~hidden",
            "requests": [{"body": {"client_secret": "hidden"}}],
        }))
        .to_string();

        assert!(!kept.contains("hidden"), "{kept}");
        assert!(kept.contains(r#""displayName":"a""#), "{kept}");
    }

    #[test]
    fn forms_keep_what_is_not_secret() {
        let kept = pairs(&Pairs::parse(
            b"grant_type=client_credentials&client_secret=hidden&client_assertion=hidden\
              &client_assertion_type=urn&code=hidden&code_verifier=hidden&refresh_token=hidden&passwd=hidden",
        ));

        assert!(!kept.to_string().contains("hidden"), "{kept}");
        assert_eq!(kept["grant_type"], "client_credentials");
        assert_eq!(kept["client_assertion_type"], "urn");
    }
}
