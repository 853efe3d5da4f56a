use http::{Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{GraphError, Request, body, permission, render};
use crate::call::Reply;
use crate::directory::{Policy, Restriction};
use crate::identity;
use crate::world::World;

/// `GET /me`: only for a signed-in user.
pub(crate) fn me(request: &Request<'_>) -> Result<Reply, GraphError> {
    let Some(id) = request.caller.user() else {
        return Err(GraphError::bad_request(
            "/me request is only valid with delegated authentication flow.",
        ));
    };
    let world = &*request.service.world();
    permission::check(request, world)?;
    let tenant = request.tenant(world)?;
    let user = tenant
        .users
        .get(&id)
        .ok_or_else(|| GraphError::not_found(&id.to_string()))?;
    let mut shown = json!({
        "@odata.context": request.context("users/$entity"), "businessPhones": [],
        "displayName": user.display_name, "givenName": null, "jobTitle": null, "mail": user.name,
        "mobilePhone": null, "officeLocation": null, "preferredLanguage": null, "surname": null,
        "userPrincipalName": user.name, "id": id,
    });
    if let (Some(names), Some(shown)) = (request.call.query.get("$select"), shown.as_object_mut()) {
        let names: Vec<&str> = names
            .split(',')
            .map(str::trim)
            .chain(["@odata.context"])
            .collect();
        render::select(shown, Some(&names));
    }
    Ok(Reply::json(StatusCode::OK, &shown))
}

/// `GET /organization`.
pub(crate) fn organization(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &*request.service.world();
    permission::check(request, world)?;
    let tenant = request.tenant(world)?;
    let domains: Vec<Value> = tenant
        .domains
        .iter()
        .enumerate()
        .map(|(place, name)| {
            json!({
                "capabilities": "Email, OfficeCommunicationsOnline", "isDefault": place == 0,
                "isInitial": place == 0, "name": name, "type": "Managed",
            })
        })
        .collect();
    let mut shown = json!({
        "id": tenant.id, "deletedDateTime": null, "businessPhones": [], "city": null, "country": null,
        "countryLetterCode": "DE", "createdDateTime": render::date(tenant.created),
        "defaultUsageLocation": null, "displayName": tenant.display_name,
        "onPremisesSyncEnabled": null, "tenantType": "AAD", "verifiedDomains": domains,
    });
    if let (Some(names), Some(shown)) = (request.call.query.get("$select"), shown.as_object_mut()) {
        let names: Vec<&str> = names.split(',').map(str::trim).collect();
        render::select(shown, Some(&names));
    }
    let context = request.context("organization");
    Ok(Reply::json(
        StatusCode::OK,
        &json!({ "@odata.context": context, "value": [shown] }),
    ))
}

/// `GET /oidc/userinfo`.
pub(crate) fn user_info(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &*request.service.world();
    let tenant = request.tenant(world)?;
    let user = request.caller.user().and_then(|id| tenant.users.get(&id));
    let user = user.ok_or_else(GraphError::forbidden)?;
    Ok(Reply::json(
        StatusCode::OK,
        // The subject of the id token, as OpenID Connect Core 5.3.2 has it.
        &json!({
            "sub": identity::pairwise(user.id, &request.caller.client_id.to_string()),
            "name": user.display_name, "email": user.name,
        }),
    ))
}

/// `GET` and `PATCH /policies/defaultAppManagementPolicy`, `GET …/appManagementPolicies`.
pub(crate) fn policy(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &mut *request.service.world();
    if request.operation.key.is_some() {
        return assigned(request, world);
    }
    permission::check(request, world)?;
    if request.call.method == Method::PATCH {
        return change_default(request, world);
    }
    let mut shown = shown(&request.tenant(world)?.policies.default);
    shown["@odata.context"] = json!(request.context("policies/defaultAppManagementPolicy/$entity"));
    Ok(Reply::json(StatusCode::OK, &shown))
}

fn assigned(request: &Request<'_>, world: &World) -> Result<Reply, GraphError> {
    let id = request.object(world)?.id;
    let policies = &request.tenant(world)?.policies.custom;
    let assigned = policies
        .iter()
        .filter(|policy| policy.applies_to.contains(&id));
    let shown: Vec<Value> = assigned.map(shown).collect();
    let context = request.context("appManagementPolicies");
    Ok(Reply::json(
        StatusCode::OK,
        &json!({ "@odata.context": context, "value": shown }),
    ))
}

fn change_default(request: &Request<'_>, world: &mut World) -> Result<Reply, GraphError> {
    let writes = "Policy.ReadWrite.ApplicationConfiguration".to_owned();
    if !request.caller.roles.contains(&writes) && !request.caller.scopes.contains(&writes) {
        return Err(GraphError::forbidden());
    }
    let sent = body::object(request.call)?;
    let policy = &mut request.tenant_mut(world)?.policies.default;
    if let Some(enabled) = sent.get("isEnabled").and_then(Value::as_bool) {
        policy.is_enabled = enabled;
    }
    if let Some(restrictions) = sent
        .get("applicationRestrictions")
        .and_then(Value::as_object)
    {
        let read = |name| restrictions_of(restrictions, name);
        let (passwords, keys) = (read("passwordCredentials")?, read("keyCredentials")?);
        policy.passwords = passwords.unwrap_or_else(|| std::mem::take(&mut policy.passwords));
        policy.keys = keys.unwrap_or_else(|| std::mem::take(&mut policy.keys));
    }
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

fn restrictions_of(
    sent: &Map<String, Value>,
    name: &str,
) -> Result<Option<Vec<Restriction>>, GraphError> {
    sent.get(name)
        .map(|list| {
            serde_json::from_value(list.clone()).map_err(|_| {
                GraphError::invalid(format!(
                    "Invalid value specified for property '{name}' of resource."
                ))
            })
        })
        .transpose()
}

fn shown(policy: &Policy) -> Value {
    json!({
        "id": policy.id, "displayName": policy.display_name, "description": null,
        "isEnabled": policy.is_enabled,
        "applicationRestrictions": {
            "passwordCredentials": policy.passwords, "keyCredentials": policy.keys,
        },
    })
}
