use chrono::{DateTime, Utc};
use http::StatusCode;
use http::header::LOCATION;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{GraphError, Request, body, key, password, permission, render};
use crate::behaviour::ConflictAnswer;
use crate::call::Reply;
use crate::directory::{History, Kind, Object, Shape, Tenant, property};
use crate::log::Effect;
use crate::random;
use crate::world::World;

/// `GET /applications/{id}` and its relatives.
pub(crate) fn get(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = request.service.world();
    let kind = request.kind();
    let names = render::selection(kind, request.call.query.get("$select"))?;
    let with_keys = names
        .as_ref()
        .is_some_and(|it| it.contains(&"keyCredentials"));
    let object = request.object(&world)?;
    let mut shown = render::object(object, &world.behaviours, request.seen, with_keys);
    render::select(&mut shown, names.as_deref());
    let selected = names.map_or_else(String::new, |names| format!("({})", names.join(",")));
    let context = format!("{}{selected}/$entity", kind.collection());
    shown.insert(
        "@odata.context".to_owned(),
        json!(request.context(&context)),
    );
    Ok(Reply::json(StatusCode::OK, &shown))
}

/// `POST /applications`, `POST /servicePrincipals`.
pub(crate) fn create(request: &Request<'_>) -> Result<Reply, GraphError> {
    let wanted = body::object(request.call)?;
    let world = &mut *request.service.world();
    permission::check(request, world)?;
    let (object, shown) = match request.kind() {
        Kind::Application => new_application(request, world, wanted)?,
        Kind::ServicePrincipal => new_principal(request, world, wanted)?,
    };
    let (id, kind) = (object.id, object.kind);
    let effect = Effect::Created {
        kind: kind.type_name().to_owned(),
        object_id: id.to_string(),
    };
    request.tenant_mut(world)?.objects.insert(id, object);
    request.note(world, effect);
    let mut reply = Reply::json(StatusCode::CREATED, &shown);
    reply.set(
        LOCATION,
        &format!("{}/{}/{id}", request.base(), kind.collection()),
    );
    Ok(reply)
}

/// `PATCH` of an application or service principal.
pub(crate) fn update(request: &Request<'_>) -> Result<Reply, GraphError> {
    let mut wanted = body::object(request.call)?;
    let kind = request.kind();
    let world = &mut *request.service.world();
    let before = request.object(world)?.clone();
    if let Some(passwords) = wanted.remove("passwordCredentials") {
        password::check_unchanged(&before, &passwords)?;
    }
    let keys = wanted
        .remove("keyCredentials")
        .map(|keys| key::replacement(request, world, &before, &keys))
        .transpose()?;
    check_properties(kind, &wanted)?;
    check_unique(request.tenant(world)?, Some(before.id), &wanted)?;
    let object = request.object_mut(world)?;
    object.change(wanted);
    if let Some(keys) = keys {
        object.keys = keys;
    }
    let effect = Effect::Updated {
        kind: kind.type_name().to_owned(),
        object_id: before.id.to_string(),
    };
    request.note(world, effect);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `DELETE` of an application, with its service principal, or of a service principal.
pub(crate) fn delete(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &mut *request.service.world();
    let object = request.object(world)?;
    let (id, kind, app_id) = (object.id, object.kind, object.app_id);
    let tenant = request.tenant_mut(world)?;
    tenant
        .objects
        .retain(|_, it| it.id != id && !(kind == Kind::Application && it.app_id == app_id));
    let Tenant {
        objects,
        assignments,
        ..
    } = tenant;
    assignments
        .retain(|_, it| objects.contains_key(&it.principal) && objects.contains_key(&it.resource));
    let effect = Effect::Deleted {
        kind: kind.type_name().to_owned(),
        object_id: id.to_string(),
    };
    request.note(world, effect);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

fn new_application(
    request: &Request<'_>,
    world: &World,
    mut wanted: Map<String, Value>,
) -> Result<(Object, Map<String, Value>), GraphError> {
    let passwords = wanted.remove("passwordCredentials").unwrap_or_default();
    let keys = wanted.remove("keyCredentials");
    check_properties(Kind::Application, &wanted)?;
    check_unique(request.tenant(world)?, None, &wanted)?;
    let name = body::text(&wanted, "displayName")?
        .filter(|name| !name.is_empty())
        .ok_or_else(|| {
            GraphError::invalid(
                "A value is required for property 'displayName' of resource 'Application'.",
            )
        })?;
    let tenant = request.tenant(world)?;
    let now = request.seen.now;
    let mut object = Object::application(random::guid(), random::guid(), &name, now);
    object.set("publisherDomain", json!(tenant.default_domain()));
    object.set("createdByAppId", json!(request.caller.client_id));
    object.change(wanted);
    if request.caller.is_user || world.behaviours.creator_owns {
        object
            .owners
            .insert(request.caller.object_id, History::starting(now));
    }
    if let Some(keys) = keys {
        object.keys = key::replacement(request, world, &object, &keys)?;
    }
    let texts = password::initial(request, world, &mut object, &passwords)?;
    let mut shown = shown(request, world, &object);
    for (password, text) in shown["passwordCredentials"]
        .as_array_mut()
        .into_iter()
        .flatten()
        .zip(texts)
    {
        password["secretText"] = json!(text);
    }
    Ok((object, shown))
}

fn new_principal(
    request: &Request<'_>,
    world: &World,
    mut wanted: Map<String, Value>,
) -> Result<(Object, Map<String, Value>), GraphError> {
    let app_id = body::guid(&wanted, "appId")?;
    wanted.remove("appId");
    check_properties(Kind::ServicePrincipal, &wanted)?;
    let tenant = request.tenant(world)?;
    if tenant.by_app_id(Kind::ServicePrincipal, app_id).is_some() {
        return Err(already_exists(&format!(
            "The service principal cannot be created, updated, or restored because the service principal \
             name {app_id} is already in use."
        )));
    }
    let (home, application) = world
        .directory
        .application(app_id)
        .filter(|(home, application)| home.id == tenant.id || application.is_multi_tenant())
        .ok_or_else(|| {
            GraphError::invalid(format!(
                "The appId '{app_id}' of the service principal does not reference a valid application object."
            ))
        })?;
    let now = request.seen.now;
    let mut object = Object::principal_of(application, random::guid(), home.id, now);
    object.change(wanted);
    if request.caller.is_user || world.behaviours.creator_owns {
        object
            .owners
            .insert(request.caller.object_id, History::starting(now));
    }
    let shown = shown(request, world, &object);
    Ok((object, shown))
}

fn shown(request: &Request<'_>, world: &World, object: &Object) -> Map<String, Value> {
    let seen = crate::behaviour::Seen {
        now: crate::clock::add(request.seen.now, chrono::TimeDelta::days(36_500)),
        ..request.seen
    };
    let mut shown = render::object(object, &world.behaviours, seen, false);
    let context = format!("{}/$entity", object.kind.collection());
    shown.insert(
        "@odata.context".to_owned(),
        json!(request.context(&context)),
    );
    shown
}

fn check_properties(kind: Kind, wanted: &Map<String, Value>) -> Result<(), GraphError> {
    for (name, value) in wanted
        .iter()
        .filter(|(name, _)| !name.starts_with("@odata."))
    {
        let shape = property(kind, name).ok_or_else(|| GraphError::no_property(name, kind))?;
        if shape == Shape::ReadOnly {
            return Err(GraphError::invalid(format!(
                "Property '{name}' is read-only and cannot be set."
            )));
        }
        let known_audience = name != "signInAudience"
            || value
                .as_str()
                .is_some_and(|audience| AUDIENCES.contains(&audience));
        if !shape.admits(value) || !known_audience {
            return Err(GraphError::invalid(format!(
                "Invalid value specified for property '{name}' of resource '{}'.",
                kind.type_name()
            )));
        }
    }
    Ok(())
}

/// Unique names and application ID URIs belong to one application of the tenant.
fn check_unique(
    tenant: &Tenant,
    own: Option<Uuid>,
    wanted: &Map<String, Value>,
) -> Result<(), GraphError> {
    let others = || {
        tenant
            .of_kind(Kind::Application)
            .filter(|it| Some(it.id) != own)
    };
    if let Some(name) = wanted.get("uniqueName").and_then(Value::as_str)
        && others().any(|it| it.text("uniqueName") == name)
    {
        return Err(already_exists(
            "Another object with the same value for property uniqueName already exists.",
        ));
    }
    let uris = wanted.get("identifierUris").and_then(Value::as_array);
    for uri in uris.into_iter().flatten().filter_map(Value::as_str) {
        if others().any(|it| {
            it.texts("identifierUris")
                .any(|known| known.eq_ignore_ascii_case(uri))
        }) {
            return Err(already_exists(
                "Another object with the same value for property identifierUris already exists.",
            ));
        }
    }
    Ok(())
}

/// What the directory answers when a key is taken.
pub(crate) fn already_exists(message: &str) -> GraphError {
    GraphError::new(409, "Request_MultipleObjectsWithSameKeyValue", message)
}

/// Refuses a write when it comes too close to another one, or by chance.
pub(crate) fn conflict(
    world: &mut World,
    tenant: Uuid,
    object: Uuid,
    now: DateTime<Utc>,
) -> Result<(), GraphError> {
    let rules = world.behaviours.concurrency.clone();
    let last = world
        .directory
        .tenants
        .get(&tenant)
        .and_then(|tenant| tenant.objects.get(&object)?.written);
    let close = last.is_some_and(|last| now - last < rules.spacing);
    if !close && !world.draws.chance(rules.probability) {
        return Ok(());
    }
    let answer = match rules.answer {
        ConflictAnswer::Mixed => match world.draws.below(3) {
            0 => ConflictAnswer::BadRequest,
            1 => ConflictAnswer::Conflict,
            _ => ConflictAnswer::Unavailable,
        },
        other => other,
    };
    let text =
        "Error due to concurrent requests being made to the tenant. Please wait briefly and retry.";
    Err(match answer {
        ConflictAnswer::BadRequest => GraphError::invalid(text),
        ConflictAnswer::Unavailable => GraphError::new(503, "Directory_ConcurrencyViolation", text),
        _ => GraphError::new(409, "Directory_ConcurrencyViolation", text),
    })
}

const AUDIENCES: [&str; 4] = [
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
];
