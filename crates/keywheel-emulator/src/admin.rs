use chrono::{DateTime, Utc};
use http::{Method, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

use crate::behaviour::from_seconds;
use crate::call::{Call, Reply};
use crate::directory::Kind;
use crate::fault::Fault;
use crate::hand::Unknown;
use crate::seed::two_years_after;
use crate::snapshot::Snapshot;
use crate::world::Service;
use crate::{Behaviours, IssuerSeed, PolicySeed};

/// Answers a request to `/_emulator/…`, the emulator's own endpoint.
pub(crate) fn answer(service: &Service, call: &Call) -> Reply {
    if call.header("origin").is_some() {
        return refuse(
            StatusCode::FORBIDDEN,
            "no page of a browser may steer the emulator",
        );
    }
    match run(service, call) {
        Ok(reply) => reply,
        Err(problem) => refuse(problem.0, &problem.1),
    }
}

struct Problem(StatusCode, String);

impl From<Unknown> for Problem {
    fn from(error: Unknown) -> Self {
        Self(StatusCode::NOT_FOUND, error.to_string())
    }
}

type Outcome = Result<Reply, Problem>;

fn run(service: &Service, call: &Call) -> Outcome {
    let parts: Vec<&str> = call.segments.iter().skip(1).map(String::as_str).collect();
    let is = |method: &Method| call.method == *method;
    let (get, post, put) = (is(&Method::GET), is(&Method::POST), is(&Method::PUT));
    let (patch, delete) = (is(&Method::PATCH), is(&Method::DELETE));
    match parts.as_slice() {
        [] | [""] if get => Ok(index()),
        ["health"] if get => Ok(ok(&json!({ "status": "ready" }))),
        ["clock"] if get => Ok(clock(service)),
        ["clock"] if patch => set_clock(service, call),
        ["behaviours"] if get => Ok(ok(&json!(service.world().behaviours))),
        ["behaviours"] if patch => set_behaviours(service, call),
        ["faults"] if get => Ok(ok(&json!(service.world().faults.list()))),
        ["faults"] if post => add_fault(service, call),
        ["faults"] if delete => {
            service.world().faults.clear();
            Ok(done())
        }
        ["faults", id] if delete => remove_fault(service, id),
        ["requests"] if get => Ok(requests(service, call)),
        ["requests"] if delete => {
            service.world().log.clear();
            Ok(done())
        }
        ["effects"] if get => Ok(effects(service, call)),
        ["applications"] if get => Ok(applications(service)),
        ["applications", client_id, rest @ ..] => application(service, call, client_id, rest),
        ["tenants", tenant, "policy"] if put => {
            service.set_policy(tenant, &body::<PolicySeed>(call)?)?;
            Ok(done())
        }
        ["users", user, "revoke"] if post => {
            service.revoke_sessions(user)?;
            Ok(done())
        }
        ["issuers"] if post => add_issuer(service, call),
        ["state"] if get => Ok(Reply::text(
            StatusCode::OK,
            "application/json",
            service.snapshot().to_json(),
        )),
        ["state"] if put => restore(service, call),
        _ => Err(Problem(
            StatusCode::NOT_FOUND,
            format!(
                "no {} {}; GET /_emulator/ lists what there is",
                call.method, call.path
            ),
        )),
    }
}

fn index() -> Reply {
    ok(&json!({ "endpoints": [
        "GET /_emulator/health",
        "GET, PATCH /_emulator/clock {now, advance (seconds), running}",
        "GET, PATCH /_emulator/behaviours",
        "GET, POST, DELETE /_emulator/faults",
        "DELETE /_emulator/faults/{id}",
        "GET, DELETE /_emulator/requests?after=&route=&client_id=",
        "GET /_emulator/effects?after=",
        "GET /_emulator/applications",
        "PATCH /_emulator/applications/{client id} {property: value}",
        "GET, POST /_emulator/applications/{client id}/secrets {display_name, end}",
        "DELETE /_emulator/applications/{client id}/secrets/{key id}",
        "POST /_emulator/applications/{client id}/accepts {secret}",
        "PUT, DELETE /_emulator/applications/{client id}/roles/{name}",
        "PUT, DELETE /_emulator/applications/{client id}/owners/{user or client id}",
        "PUT /_emulator/tenants/{tenant}/policy",
        "POST /_emulator/users/{user}/revoke",
        "POST /_emulator/issuers {url, jwks}",
        "GET, PUT /_emulator/state",
    ]}))
}

fn clock(service: &Service) -> Reply {
    let clock = &service.clock;
    ok(&json!({ "now": clock.now(), "running": clock.is_running() }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClockChange {
    now: Option<DateTime<Utc>>,
    advance: Option<f64>,
    running: Option<bool>,
}

fn set_clock(service: &Service, call: &Call) -> Outcome {
    let change: ClockChange = body(call)?;
    let hand = &service.clock;
    // Stopped first, so that it shows exactly what it is set to.
    if change.running == Some(false) {
        hand.stop();
    }
    if let Some(now) = change.now {
        hand.set(now);
    }
    if let Some(seconds) = change.advance {
        hand.advance(from_seconds(seconds));
    }
    if change.running == Some(true) {
        hand.resume();
    }
    Ok(clock(service))
}

/// Changes the fields that are named, and no other.
fn set_behaviours(service: &Service, call: &Call) -> Outcome {
    let change: Map<String, Value> = body(call)?;
    let world = &mut *service.world();
    let mut all = json!(world.behaviours);
    if let Some(fields) = all.as_object_mut() {
        fields.extend(change);
    }
    let changed: Behaviours = serde_json::from_value(all).map_err(|error| invalid(&error))?;
    world.behaviours = changed;
    Ok(ok(&json!(world.behaviours)))
}

fn add_fault(service: &Service, call: &Call) -> Outcome {
    let fault: Fault = body(call)?;
    let id = service.world().faults.add(fault);
    Ok(Reply::json(StatusCode::CREATED, &json!({ "id": id })))
}

fn remove_fault(service: &Service, id: &str) -> Outcome {
    let id = id.parse().map_err(|error| invalid(&error))?;
    match service.world().faults.remove(id) {
        true => Ok(done()),
        false => Err(Problem(
            StatusCode::NOT_FOUND,
            format!("no fault has the id {id}"),
        )),
    }
}

fn requests(service: &Service, call: &Call) -> Reply {
    let after = after(call);
    let route = call.query.get("route");
    let client_id = call.query.get("client_id");
    let world = service.world();
    let wanted: Vec<_> = world
        .log
        .requests_after(after)
        .filter(|it| route.is_none_or(|route| it.route.as_str() == route))
        .filter(|it| client_id.is_none_or(|id| it.client_id.as_deref() == Some(id)))
        .collect();
    ok(&wanted)
}

fn effects(service: &Service, call: &Call) -> Reply {
    let world = service.world();
    let wanted: Vec<_> = world.log.effects_after(after(call)).collect();
    ok(&wanted)
}

fn after(call: &Call) -> u64 {
    call.query
        .get("after")
        .and_then(|text| text.parse().ok())
        .unwrap_or(0)
}

fn applications(service: &Service) -> Reply {
    let world = service.world();
    let listed: Vec<Value> = world
        .directory
        .tenants
        .values()
        .flat_map(|tenant| tenant.of_kind(Kind::Application).map(move |it| (tenant, it)))
        .map(|(tenant, application)| {
            json!({
                "tenant_id": tenant.id, "client_id": application.app_id, "object_id": application.id,
                "display_name": application.display_name(),
                "secrets": application.passwords.iter().filter(|it| it.history.present()).count(),
            })
        })
        .collect();
    ok(&listed)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewSecret {
    display_name: String,
    end: Option<DateTime<Utc>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Presented {
    secret: String,
}

fn application(service: &Service, call: &Call, client_id: &str, rest: &[&str]) -> Outcome {
    match (call.method.as_str(), rest) {
        ("PATCH", []) => {
            for (name, value) in body::<Map<String, Value>>(call)? {
                service.set_property(client_id, &name, value)?;
            }
            Ok(done())
        }
        ("GET", ["secrets"]) => Ok(ok(&service.secrets(client_id))),
        ("POST", ["secrets"]) => {
            let wanted: NewSecret = body(call)?;
            let end = wanted
                .end
                .unwrap_or_else(|| two_years_after(service.clock.now()));
            let added = service.add_secret(client_id, &wanted.display_name, end)?;
            let shown = json!({ "key_id": added.key_id, "text": added.text.expose() });
            Ok(Reply::json(StatusCode::CREATED, &shown))
        }
        ("DELETE", ["secrets", key_id]) => match service.remove_secret(client_id, key_id)? {
            true => Ok(done()),
            false => Err(Problem(
                StatusCode::NOT_FOUND,
                format!("no secret has the key id {key_id}"),
            )),
        },
        ("POST", ["accepts"]) => {
            let secret = body::<Presented>(call)?.secret;
            Ok(ok(
                &json!({ "accepts": service.accepts(client_id, &secret) }),
            ))
        }
        ("PUT", ["roles", role]) => Ok(service.set_role(client_id, role, true).map(|()| done())?),
        ("DELETE", ["roles", role]) => {
            Ok(service.set_role(client_id, role, false).map(|()| done())?)
        }
        ("PUT", ["owners", owner]) => {
            Ok(service.set_owner(client_id, owner, true).map(|()| done())?)
        }
        ("DELETE", ["owners", owner]) => Ok(service
            .set_owner(client_id, owner, false)
            .map(|()| done())?),
        _ => Err(Problem(
            StatusCode::NOT_FOUND,
            "GET /_emulator/ lists what there is".to_owned(),
        )),
    }
}

fn add_issuer(service: &Service, call: &Call) -> Outcome {
    let issuer: IssuerSeed = body(call)?;
    let jwks = serde_json::from_str(&issuer.jwks).map_err(|error| invalid(&error))?;
    service.world().issuers.insert(issuer.url, jwks);
    Ok(done())
}

fn restore(service: &Service, call: &Call) -> Outcome {
    let text = std::str::from_utf8(&call.body).map_err(|error| invalid(&error))?;
    service.restore(Snapshot::from_json(text).map_err(|error| invalid(&error))?);
    Ok(done())
}

fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Problem> {
    serde_json::from_slice(&call.body).map_err(|error| invalid(&error))
}

fn invalid(error: &dyn std::error::Error) -> Problem {
    Problem(StatusCode::BAD_REQUEST, error.to_string())
}

fn ok(body: &impl serde::Serialize) -> Reply {
    Reply::json(StatusCode::OK, body)
}

fn done() -> Reply {
    Reply::empty(StatusCode::NO_CONTENT)
}

fn refuse(status: StatusCode, text: &str) -> Reply {
    Reply::json(status, &json!({ "error": text }))
}
