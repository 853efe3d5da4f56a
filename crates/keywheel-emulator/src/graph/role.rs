use http::StatusCode;
use serde_json::{Value, json};

use super::path::Form;
use super::{GraphError, Request, body, permission, render};
use crate::call::Reply;
use crate::directory::{Assignment, Kind, Tenant};
use crate::jwt::encode;
use crate::log::Effect;
use crate::random;

/// `GET …/appRoleAssignments`, `GET …/appRoleAssignedTo`.
pub(crate) fn list(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &*request.service.world();
    let tenant = request.tenant(world)?;
    let id = request.object(world)?.id;
    let wanted = |it: &&Assignment| match request.operation.form {
        Form::AssignedTo => it.resource == id,
        _ => it.principal == id,
    };
    let assignments = tenant.assignments.values().filter(wanted);
    let shown: Vec<Value> = assignments.map(|it| shown(tenant, it)).collect();
    let context = request.context("appRoleAssignments");
    Ok(Reply::json(
        StatusCode::OK,
        &json!({ "@odata.context": context, "value": shown }),
    ))
}

/// `POST …/appRoleAssignments`, `POST …/appRoleAssignedTo`.
pub(crate) fn assign(request: &Request<'_>) -> Result<Reply, GraphError> {
    let sent = body::object(request.call)?;
    let principal = body::guid(&sent, "principalId")?;
    let resource = body::guid(&sent, "resourceId")?;
    let role = body::guid(&sent, "appRoleId")?;
    let world = &mut *request.service.world();
    permission::check(request, world)?;
    let tenant = request.tenant(world)?;
    let named = request
        .operation
        .find(tenant, &world.behaviours, request.seen)?
        .id;
    let expected = match request.operation.form {
        Form::AssignedTo => resource,
        _ => principal,
    };
    if named != expected {
        return Err(GraphError::invalid(
            "The assignment must be for the service principal in the path.",
        ));
    }
    let find = |id| {
        let found = tenant.object(Kind::ServicePrincipal, id);
        found.ok_or_else(|| GraphError::not_found(&uuid::Uuid::to_string(&id)))
    };
    let (holder, definition) = (find(principal)?, find(resource)?);
    let name = definition
        .role_name(role)
        .map(str::to_owned)
        .ok_or_else(|| {
            GraphError::invalid(format!(
                "Permission being assigned was not found on application '{}'.",
                definition.app_id
            ))
        })?;
    let known =
        |it: &Assignment| it.principal == principal && it.resource == resource && it.role == role;
    if tenant.assignments.values().any(known) {
        return Err(GraphError::invalid(
            "Permission being assigned already exists on the object.",
        ));
    }
    let assignment = Assignment {
        id: random::guid(),
        role,
        principal: holder.id,
        resource,
        created: request.seen.now,
    };
    let mut shown = shown(tenant, &assignment);
    shown["@odata.context"] = json!(request.context("appRoleAssignments/$entity"));
    request
        .tenant_mut(world)?
        .assignments
        .insert(assignment.id, assignment);
    let effect = Effect::RoleAssigned {
        principal: principal.to_string(),
        role: name,
    };
    request.note(world, effect);
    Ok(Reply::json(StatusCode::CREATED, &shown))
}

/// `DELETE …/appRoleAssignments/{id}`.
pub(crate) fn unassign(request: &Request<'_>) -> Result<Reply, GraphError> {
    let part = request
        .operation
        .part
        .as_ref()
        .map_or("", |part| part.value());
    let world = &mut *request.service.world();
    permission::check(request, world)?;
    let tenant = request.tenant(world)?;
    let named = request
        .operation
        .find(tenant, &world.behaviours, request.seen)?
        .id;
    let found = tenant
        .assignments
        .values()
        .filter(|it| [it.principal, it.resource].contains(&named))
        .find(|it| opaque_id(it) == part)
        .cloned()
        .ok_or_else(|| GraphError::not_found(part))?;
    let definition = tenant.objects.get(&found.resource);
    let role = definition
        .and_then(|it| it.role_name(found.role))
        .unwrap_or_default();
    let effect = Effect::RoleRemoved {
        principal: found.principal.to_string(),
        role: role.to_owned(),
    };
    request.tenant_mut(world)?.assignments.remove(&found.id);
    request.note(world, effect);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

fn shown(tenant: &Tenant, assignment: &Assignment) -> Value {
    let name = |id| tenant.objects.get(&id).map(|object| object.display_name());
    json!({
        "id": opaque_id(assignment), "deletedDateTime": null, "appRoleId": assignment.role,
        "createdDateTime": render::date(assignment.created),
        "principalDisplayName": name(assignment.principal), "principalId": assignment.principal,
        "principalType": "ServicePrincipal", "resourceDisplayName": name(assignment.resource),
        "resourceId": assignment.resource,
    })
}

/// The id of an assignment is no GUID.
fn opaque_id(assignment: &Assignment) -> String {
    let both = [
        assignment.principal.into_bytes(),
        assignment.id.into_bytes(),
    ];
    encode(both.concat())
}
