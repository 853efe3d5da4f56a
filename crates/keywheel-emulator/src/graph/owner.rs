use http::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use super::path::Form;
use super::{GraphError, Request, body};
use crate::call::Reply;
use crate::directory::{History, Kind, Tenant};
use crate::log::Effect;

/// `GET …/owners`, `GET …/owners/$ref`.
pub(crate) fn list(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &*request.service.world();
    let tenant = request.tenant(world)?;
    let object = request.object(world)?;
    let owners = object
        .owners
        .iter()
        .filter(|(id, history)| history.in_reads(**id, &world.behaviours, request.seen))
        .filter_map(|(id, _)| shown(request, tenant, *id));
    Ok(collection(request, owners.collect()))
}

/// `GET /servicePrincipals/{id}/ownedObjects`.
pub(crate) fn owned(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &*request.service.world();
    let tenant = request.tenant(world)?;
    let principal = request.object(world)?.id;
    let objects = tenant
        .objects
        .values()
        .filter(|object| object.is_owned_by(principal));
    let shown = objects.filter_map(|object| shown(request, tenant, object.id));
    Ok(collection(request, shown.collect()))
}

/// `POST …/owners/$ref`.
pub(crate) fn add(request: &Request<'_>) -> Result<Reply, GraphError> {
    let sent = body::object(request.call)?;
    if request.operation.form != Form::Reference {
        return Err(GraphError::invalid(
            "Unsupported resource type 'DirectoryObject' for operation 'Create'.",
        ));
    }
    let link = body::text(&sent, "@odata.id")?.unwrap_or_default();
    let owner = link
        .trim_end_matches('/')
        .rsplit(['/', '(', '\''])
        .find(|part| !part.is_empty() && *part != ")")
        .and_then(|id| Uuid::try_parse(id).ok())
        .ok_or_else(|| {
            GraphError::bad_request(
                "The request body must contain the property '@odata.id' with a link to an object.",
            )
        })?;
    let world = &mut *request.service.world();
    let tenant = request.tenant(world)?;
    let principal = tenant.object(Kind::ServicePrincipal, owner).is_some();
    if !principal && !tenant.users.contains_key(&owner) {
        return Err(GraphError::not_found(&owner.to_string()));
    }
    let object = request.object_mut(world)?;
    if object.is_owned_by(owner) {
        return Err(GraphError::invalid(
            "One or more added object references already exist for the following modified properties: 'owners'.",
        ));
    }
    object
        .owners
        .insert(owner, History::starting(request.seen.now));
    let effect = Effect::OwnerAdded {
        object_id: object.id.to_string(),
        owner: owner.to_string(),
    };
    request.note(world, effect);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `DELETE …/owners/{id}/$ref`.
pub(crate) fn remove(request: &Request<'_>) -> Result<Reply, GraphError> {
    let part = request
        .operation
        .part
        .as_ref()
        .map_or("", |part| part.value());
    let world = &mut *request.service.world();
    let object = request.object_mut(world)?;
    let owner = Uuid::try_parse(part)
        .ok()
        .filter(|owner| object.is_owned_by(*owner))
        .ok_or_else(|| GraphError::not_found(part))?;
    if let Some(history) = object.owners.get_mut(&owner) {
        history.removed = Some(request.seen.now);
    }
    let effect = Effect::OwnerRemoved {
        object_id: object.id.to_string(),
        owner: owner.to_string(),
    };
    request.note(world, effect);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Writes an object or user as a member of a list of anything.
fn shown(request: &Request<'_>, tenant: &Tenant, id: Uuid) -> Option<Value> {
    if request.operation.form == Form::Reference {
        let link = format!("{}/directoryObjects/{id}", request.base());
        return Some(json!({ "@odata.id": link }));
    }
    if let Some(user) = tenant.users.get(&id) {
        return Some(json!({
            "@odata.type": "#microsoft.graph.user", "id": id, "displayName": user.display_name,
            "userPrincipalName": user.name,
        }));
    }
    let object = tenant.objects.get(&id)?;
    Some(json!({
        "@odata.type": format!("#microsoft.graph.{}", object.kind.type_name()), "id": id,
        "appId": object.app_id, "displayName": object.display_name(),
    }))
}

fn collection(request: &Request<'_>, shown: Vec<Value>) -> Reply {
    let context = request.context(match request.operation.form {
        Form::Reference => "Collection($ref)",
        _ => "directoryObjects",
    });
    Reply::json(
        StatusCode::OK,
        &json!({ "@odata.context": context, "value": shown }),
    )
}
