use std::sync::{Arc, PoisonError};

use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;
use serde_json::Value;
use uuid::Uuid;

use super::GraphError;
use crate::call::Call;
use crate::directory::GRAPH_APP_ID;
use crate::jwt::Jwt;
use crate::keys::Algorithm;
use crate::world::Service;

/// Who calls, as the access token says.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) tenant: Uuid,
    pub(crate) client_id: Uuid,
    /// The service principal, or for a user's token the user.
    pub(crate) object_id: Uuid,
    pub(crate) is_user: bool,
    /// Application permissions.
    pub(crate) roles: Vec<String>,
    /// Delegated permissions.
    pub(crate) scopes: Vec<String>,
    not_before: DateTime<Utc>,
    expires: DateTime<Utc>,
}

impl Caller {
    /// Returns the user that an application calls for.
    pub(crate) fn user(&self) -> Option<Uuid> {
        self.is_user.then_some(self.object_id)
    }
}

/// Verifies the access token of a request: its signature once, its times each time.
pub(crate) fn identify(
    service: &Service,
    call: &Call,
    now: DateTime<Utc>,
) -> Result<Arc<Caller>, GraphError> {
    let token = bearer(call)?;
    let digest = digest(token);
    let known = {
        let callers = service
            .callers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        callers.get(&digest).cloned()
    };
    let caller = match known {
        Some(caller) => caller,
        None => {
            let caller = Arc::new(verify(service, token)?);
            let mut callers = service
                .callers
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if callers.len() >= REMEMBERED {
                callers.clear();
            }
            callers.insert(digest, Arc::clone(&caller));
            caller
        }
    };
    if now < caller.not_before || now >= caller.expires {
        return Err(GraphError::unauthenticated(
            "Lifetime validation failed, the token is expired.",
        ));
    }
    Ok(caller)
}

fn bearer(call: &Call) -> Result<&str, GraphError> {
    let empty = || GraphError::unauthenticated("Access token is empty.");
    let value = call.header(AUTHORIZATION.as_str()).ok_or_else(empty)?;
    let (scheme, token) = value.split_once(' ').unwrap_or((value, ""));
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(empty());
    }
    Ok(token)
}

fn verify(service: &Service, token: &str) -> Result<Caller, GraphError> {
    let jwt = Jwt::parse(token).ok_or_else(|| {
        GraphError::unauthenticated("CompactToken parsing failed with error code: 80049217")
    })?;
    let key = service.keys.signing();
    let signed = jwt.header("alg") == Some("RS256")
        && jwt.header("kid") == Some(&key.kid)
        && Algorithm::Rs256.verifies(key.rsa.public(), jwt.signed, &jwt.signature);
    if !signed {
        return Err(GraphError::unauthenticated(
            "Access token validation failure. Invalid signature.",
        ));
    }
    let audience = jwt.audience().unwrap_or_default();
    let ours = audience == "https://graph.microsoft.com" || audience == GRAPH_APP_ID.to_string();
    if !ours {
        return Err(GraphError::unauthenticated(
            "Access token validation failure. Invalid audience.",
        ));
    }
    read(&jwt).ok_or_else(|| GraphError::unauthenticated("Access token validation failure."))
}

fn read(jwt: &Jwt<'_>) -> Option<Caller> {
    let guid = |name: &str| jwt.claim(name).and_then(|text| Uuid::try_parse(text).ok());
    let at = |name: &str| DateTime::from_timestamp(jwt.seconds(name)?, 0);
    let roles = jwt.claims.get("roles").and_then(Value::as_array);
    let scopes = jwt.claim("scp");
    Some(Caller {
        tenant: guid("tid")?,
        client_id: guid("appid")?,
        object_id: guid("oid")?,
        is_user: scopes.is_some(),
        roles: roles
            .into_iter()
            .flatten()
            .filter_map(|role| role.as_str().map(str::to_owned))
            .collect(),
        scopes: scopes
            .unwrap_or_default()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        not_before: at("nbf")?,
        expires: at("exp")?,
    })
}

fn digest(token: &str) -> [u8; 32] {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, token.as_bytes());
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// How many verified tokens are remembered before all are forgotten.
const REMEMBERED: usize = 10_000;
