use uuid::Uuid;

use super::Refusal;
use super::flow::{Flow, Purpose};
use super::resource;
use super::scope::Scopes;
use super::token::Place;
use crate::directory::{Assignment, Consent, Kind, Object, Tenant, User};
use crate::log::Effect;
use crate::random;
use crate::world::World;

/// What a user is asked to consent to.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Scopes and roles, by name.
    pub(crate) permissions: Vec<String>,
    /// Whether the user may consent to them.
    pub(crate) is_allowed: bool,
    /// Whether consent is for the whole tenant: it must be, it may be, or the user has no say in that.
    pub(crate) for_all: Option<bool>,
    settled: bool,
}

impl Wanted {
    /// Tells whether everything has been consented to before.
    pub(crate) fn is_settled(&self) -> bool {
        self.settled
    }
}

/// Finds out what a flow needs consent for.
pub(crate) fn wanted(world: &World, place: &Place<'_>, flow: &Flow) -> Result<Wanted, Refusal> {
    let (tenant, user) = signed_in(world, flow)?;
    let (_, application) = world
        .directory
        .application(flow.client_id)
        .ok_or_else(Refusal::malformed)?;
    if flow.purpose == Purpose::AdminConsent {
        let (roles, scopes) = whole(world, tenant, place, application, flow)?;
        let mut permissions: Vec<String> = roles.into_iter().map(|(_, _, name)| name).collect();
        permissions.extend(scopes.all().into_iter().map(str::to_owned));
        return Ok(Wanted {
            permissions,
            is_allowed: user.consents_for_all(),
            for_all: Some(true),
            settled: false,
        });
    }
    let scopes = Scopes::read(world, tenant, place, Some(application), &flow.scope)?;
    let missing = missing(tenant, application, user, &scopes);
    let definition = tenant.objects.get(&scopes.resource.principal);
    let by_admin = missing.iter().any(|name| {
        let scope = definition.and_then(|it| it.scope_named(name));
        scope.is_some_and(|scope| scope["type"] == "Admin")
    });
    let asks_again = flow
        .prompt
        .as_deref()
        .is_some_and(|it| it.contains("consent"));
    let permissions = if asks_again {
        scopes.all()
    } else {
        missing.clone()
    };
    Ok(Wanted {
        permissions: permissions.into_iter().map(str::to_owned).collect(),
        is_allowed: !by_admin || user.consents_for_all(),
        for_all: user.consents_for_all().then_some(false),
        settled: missing.is_empty() && !asks_again,
    })
}

/// Notes a consent, and installs the application in the tenant where it is not yet.
pub(crate) fn grant(
    world: &mut World,
    place: &Place<'_>,
    flow: &Flow,
    for_all: bool,
) -> Result<(), Refusal> {
    let wanted = wanted(world, place, flow)?;
    if !wanted.is_allowed {
        return Err(Refusal::new(
            400,
            "access_denied",
            90_094,
            "An administrator of the organization must consent to what the application needs.",
        ));
    }
    let (tenant, user) = signed_in(world, flow)?;
    let (tenant_id, user_id, is_admin) = (tenant.id, user.id, user.consents_for_all());
    let client = install(world, tenant_id, flow, place)?;
    let tenant = &world.directory.tenants[&tenant_id];
    let (_, application) = world
        .directory
        .application(flow.client_id)
        .ok_or_else(Refusal::malformed)?;
    let admin = flow.purpose == Purpose::AdminConsent;
    let (roles, scopes) = if admin {
        whole(world, tenant, place, application, flow)?
    } else {
        let scopes = Scopes::read(world, tenant, place, Some(application), &flow.scope)?;
        (Vec::new(), scopes)
    };
    let consent = Consent {
        client,
        resource: scopes.resource.principal,
        user: (!(admin || for_all && is_admin)).then_some(user_id),
        scopes: scopes.all().into_iter().map(str::to_owned).collect(),
    };
    if let Some(tenant) = world.directory.tenants.get_mut(&tenant_id) {
        tenant.consent(consent);
        for (resource, role, _) in roles {
            assign(tenant, client, resource, role, place);
        }
    }
    let effect = Effect::Consented {
        client_id: flow.client_id.to_string(),
        permissions: wanted.permissions,
    };
    place.service.note(world, Some(place.number), effect);
    Ok(())
}

/// Returns the scopes that still need the user's consent.
fn missing<'s>(
    tenant: &Tenant,
    application: &Object,
    user: &User,
    scopes: &'s Scopes,
) -> Vec<&'s str> {
    let client = tenant.by_app_id(Kind::ServicePrincipal, application.app_id);
    let known = client.map_or_else(Vec::new, |client| {
        tenant.consented(client.id, scopes.resource.principal, user.id)
    });
    scopes
        .all()
        .into_iter()
        .filter(|name| !known.contains(name))
        .collect()
}

/// The resource's service principal, the role's id and name.
type Role = (Uuid, Uuid, String);

/// Returns all that an administrator's consent covers: the registration's roles and scopes of the resource,
/// or the scopes that were asked for.
fn whole(
    world: &World,
    tenant: &Tenant,
    place: &Place<'_>,
    application: &Object,
    flow: &Flow,
) -> Result<(Vec<Role>, Scopes), Refusal> {
    let everything = format!("{}/.default", resource::GRAPH);
    let text = if flow.scope.is_empty() {
        &everything
    } else {
        &flow.scope
    };
    let scopes = Scopes::read(world, tenant, place, Some(application), text)?;
    let definition = tenant.objects.get(&scopes.resource.principal);
    let registered = scopes
        .all_registered
        .then(|| application.required(scopes.resource.app_id, "Role"));
    let roles = registered.into_iter().flatten().filter_map(|id| {
        let name = definition?.role_name(id)?.to_owned();
        Some((scopes.resource.principal, id, name))
    });
    Ok((roles.collect(), scopes))
}

fn assign(tenant: &mut Tenant, principal: Uuid, resource: Uuid, role: Uuid, place: &Place<'_>) {
    let known =
        |it: &Assignment| it.principal == principal && it.resource == resource && it.role == role;
    if tenant.assignments.values().any(known) {
        return;
    }
    let id = random::guid();
    let assignment = Assignment {
        id,
        role,
        principal,
        resource,
        created: place.seen.now,
    };
    tenant.assignments.insert(id, assignment);
}

/// Returns the application's service principal in the tenant, made when there is none.
fn install(
    world: &mut World,
    tenant: Uuid,
    flow: &Flow,
    place: &Place<'_>,
) -> Result<Uuid, Refusal> {
    let (home, application) = world
        .directory
        .application(flow.client_id)
        .ok_or_else(Refusal::malformed)?;
    let known = world.directory.tenants[&tenant].by_app_id(Kind::ServicePrincipal, flow.client_id);
    if let Some(known) = known {
        return Ok(known.id);
    }
    let made = Object::principal_of(application, random::guid(), home.id, place.seen.now);
    let id = made.id;
    if let Some(tenant) = world.directory.tenants.get_mut(&tenant) {
        tenant.objects.insert(id, made);
    }
    let effect = Effect::Created {
        kind: "servicePrincipal".to_owned(),
        object_id: id.to_string(),
    };
    place.service.note(world, Some(place.number), effect);
    Ok(id)
}

fn signed_in<'w>(world: &'w World, flow: &Flow) -> Result<(&'w Tenant, &'w User), Refusal> {
    let found = flow.user.and_then(|(tenant, user)| {
        let tenant = world.directory.tenants.get(&tenant)?;
        Some((tenant, tenant.users.get(&user)?))
    });
    found.ok_or_else(Refusal::malformed)
}
