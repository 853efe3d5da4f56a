use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Months, TimeDelta, Utc};
use http::StatusCode;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::password::{check_lifetime, check_lock, check_size};
use super::{GraphError, Request, body, object, render};
use crate::call::Reply;
use crate::certificate::Certificate;
use crate::directory::{History, Key, Object, Policy};
use crate::jwt::Jwt;
use crate::keys::Algorithm;
use crate::log::Effect;
use crate::random;
use crate::world::World;

/// `POST …/addKey`: a new certificate, vouched for by one that is registered.
pub(crate) fn add(request: &Request<'_>) -> Result<Reply, GraphError> {
    let known = ["keyCredential", "passwordCredential", "proof"];
    let parameters = body::parameters(request.call, "addKey", &known)?;
    if parameters
        .get("passwordCredential")
        .is_some_and(|it| !it.is_null())
    {
        return Err(GraphError::invalid(
            "The emulator takes no keys with a password.",
        ));
    }
    let world = &mut *request.service.world();
    let object = vouched(request, world, &parameters)?;
    check_lock(request, world, object)?;
    check_size(object, world)?;
    let sent = parameters.get("keyCredential").and_then(Value::as_object);
    let sent = sent.ok_or_else(|| {
        GraphError::bad_request(
            "Required parameter 'keyCredential' is missing from the request payload.",
        )
    })?;
    let policy = request.tenant(world)?.policies.of(object.id);
    let made = new_key(sent, policy, object, request.seen.now)?;
    let mut shown = render::key(&made, false);
    shown["@odata.context"] = json!(request.context("microsoft.graph.keyCredential"));
    let effect = Effect::KeyAdded {
        client_id: object.app_id.to_string(),
        key_id: made.key_id.to_string(),
    };
    let id = object.id;
    writable(request, world, id)?.keys.insert(0, made);
    request.note(world, effect);
    Ok(Reply::json(StatusCode::OK, &shown))
}

/// `POST …/removeKey`.
pub(crate) fn remove(request: &Request<'_>) -> Result<Reply, GraphError> {
    let parameters = body::parameters(request.call, "removeKey", &["keyId", "proof"])?;
    let key_id = body::guid(&parameters, "keyId")?;
    let world = &mut *request.service.world();
    let object = vouched(request, world, &parameters)?;
    let (id, client_id) = (object.id, object.app_id.to_string());
    let behaviours = world.behaviours.clone();
    let key = writable(request, world, id)?
        .keys
        .iter_mut()
        .filter(|it| it.history.in_writes(it.key_id, &behaviours, request.seen))
        .find(|key| key.key_id == key_id)
        .ok_or_else(|| {
            GraphError::invalid(format!("No key credential found with keyId '{key_id}'."))
        })?;
    key.history.removed = Some(request.seen.now);
    let effect = Effect::KeyRemoved {
        client_id,
        key_id: key_id.to_string(),
    };
    request.note(world, effect);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Reads the whole list that a `PATCH` puts in the place of the one that is there. An entry without `key`
/// keeps the certificate with its key id, and so does one with the same `key`; what is missing is removed. A
/// new entry may bring its own key id, as published rotators have it.
pub(crate) fn replacement(
    request: &Request<'_>,
    world: &World,
    before: &Object,
    sent: &Value,
) -> Result<Vec<Key>, GraphError> {
    let invalid = || {
        GraphError::invalid(format!(
            "Invalid value specified for property 'keyCredentials' of resource '{}'.",
            before.kind.type_name()
        ))
    };
    let now = request.seen.now;
    let policy = request.tenant(world)?.policies.of(before.id);
    let mut keys = Vec::new();
    for entry in sent.as_array().ok_or_else(invalid)? {
        let entry = entry.as_object().ok_or_else(invalid)?;
        let id = entry.get("keyId").and_then(Value::as_str);
        let known = before
            .keys
            .iter()
            .filter(|key| key.history.present())
            .find(|key| id.is_some_and(|id| key.key_id.to_string().eq_ignore_ascii_case(id)));
        let Some(known) = known else {
            let mut made = new_key(entry, policy, before, now)?;
            made.key_id = id.map_or(Ok(made.key_id), |_| body::guid(entry, "keyId"))?;
            keys.push(made);
            continue;
        };
        let same = entry.get("key").is_none_or(|key| {
            key.is_null() || *key == json!(STANDARD.encode(&known.certificate.der))
        });
        if !same {
            return Err(GraphError::invalid(format!(
                "Update to existing credential with KeyId '{}' is not allowed.",
                known.key_id
            )));
        }
        keys.push(known.clone());
    }
    let gone = before
        .keys
        .iter()
        .filter(|key| !keys.iter().any(|it| it.key_id == key.key_id));
    let tombs: Vec<Key> = gone
        .map(|key| {
            let mut tomb = key.clone();
            tomb.history.removed = tomb.history.removed.or(Some(now));
            tomb
        })
        .collect();
    keys.extend(tombs);
    Ok(keys)
}

/// Returns the object when the proof holds. An application that rolls its own keys needs no permission.
fn vouched<'w>(
    request: &Request<'_>,
    world: &'w World,
    parameters: &Map<String, Value>,
) -> Result<&'w Object, GraphError> {
    let tenant = request.tenant(world)?;
    let named = request
        .operation
        .find(tenant, &world.behaviours, request.seen)?;
    let own = !request.caller.is_user && request.caller.client_id == named.app_id;
    let object = if own { named } else { request.object(world)? };
    let proof = body::text(parameters, "proof")?.unwrap_or_default();
    if holds(&proof, object, request.seen.now) {
        return Ok(object);
    }
    Err(GraphError::new(
        401,
        "Authentication_MissingOrMalformed",
        "Access Token missing or malformed.",
    ))
}

/// Tells whether a proof is signed with a certificate that is registered and valid now, for this object
/// and for ten minutes at most.
fn holds(proof: &str, object: &Object, now: DateTime<Utc>) -> bool {
    let Some(jwt) = Jwt::parse(proof) else {
        return false;
    };
    let at = |name| DateTime::from_timestamp(jwt.seconds(name)?, 0);
    let (Some(start), Some(end)) = (at("nbf"), at("exp")) else {
        return false;
    };
    let in_time = start <= crate::clock::add(now, TimeDelta::minutes(5))
        && now < end
        && end - start <= TimeDelta::minutes(10);
    let named = jwt.audience() == Some(PROOF_AUDIENCE)
        && jwt.claim("iss").and_then(|id| Uuid::try_parse(id).ok()) == Some(object.id);
    let Some(algorithm) = jwt.header("alg").and_then(Algorithm::named) else {
        return false;
    };
    let valid = |key: &&Key| key.history.present() && key.start <= now && now < key.end;
    let signs = |key: &Key| {
        let public = key.certificate.rsa.as_deref();
        public.is_some_and(|public| algorithm.verifies(public, jwt.signed, &jwt.signature))
    };
    in_time && named && object.keys.iter().filter(valid).any(signs)
}

/// Returns the object for a write whose right has been checked.
fn writable<'w>(
    request: &Request<'_>,
    world: &'w mut World,
    id: Uuid,
) -> Result<&'w mut Object, GraphError> {
    object::conflict(world, request.caller.tenant, id, request.seen.now)?;
    let found = request.tenant_mut(world)?.objects.get_mut(&id);
    let object = found.ok_or_else(|| GraphError::not_found(&id.to_string()))?;
    object.written = Some(request.seen.now);
    Ok(object)
}

fn new_key(
    sent: &Map<String, Value>,
    policy: &Policy,
    object: &Object,
    now: DateTime<Utc>,
) -> Result<Key, GraphError> {
    let kind = body::text(sent, "type")?.unwrap_or_default();
    let usage = body::text(sent, "usage")?.unwrap_or_default();
    if kind != "AsymmetricX509Cert" || !matches!(usage.as_str(), "Verify" | "Sign" | "Encrypt") {
        return Err(GraphError::invalid(
            "Key credential type or usage is invalid.",
        ));
    }
    let certificate = body::text(sent, "key")?
        .and_then(|key| STANDARD.decode(key.trim()).ok())
        .and_then(|bytes| Certificate::from_any(&bytes))
        .ok_or_else(|| GraphError::invalid("Key credential value is not a valid certificate."))?;
    let start =
        body::date(sent, "startDateTime")?.unwrap_or_else(|| now.max(certificate.not_before));
    let a_year = start.checked_add_months(Months::new(12)).unwrap_or(start);
    let end = body::date(sent, "endDateTime")?.unwrap_or_else(|| a_year.min(certificate.not_after));
    if start < certificate.not_before {
        return Err(GraphError::new(
            400,
            "KeyCredentialsInvalidStartDate",
            "Key credential start date is invalid.",
        ));
    }
    if end <= start || end > certificate.not_after {
        return Err(GraphError::new(
            400,
            "KeyCredentialsInvalidEndDate",
            "Key credential end date is invalid.",
        ));
    }
    check_lifetime(policy, object, "asymmetricKeyLifetime", start, end)?;
    let name = body::text(sent, "displayName")?.or_else(|| Some(certificate.subject.clone()));
    Ok(Key {
        key_id: random::guid(),
        display_name: name,
        identifier: body::text(sent, "customKeyIdentifier")?
            .or_else(|| Some(STANDARD.encode(&certificate.sha1))),
        usage,
        start,
        end,
        history: History::starting(now),
        certificate,
    })
}

/// The retired directory API is still what proofs are for.
const PROOF_AUDIENCE: &str = "00000002-0000-0000-c000-000000000000";
