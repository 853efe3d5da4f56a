use uuid::Uuid;

use super::Refusal;
use super::token::Place;
use crate::directory::{GRAPH_APP_ID, Kind, Object, Tenant};
use crate::world::World;

/// What a token is for.
#[derive(Clone, Debug)]
pub(crate) struct Resource {
    /// The audience that tokens name.
    pub(crate) audience: String,
    /// The resource's service principal in the tenant.
    pub(crate) principal: Uuid,
    pub(crate) app_id: Uuid,
    pub(crate) is_graph: bool,
    /// Whether the resource asked for tokens of version 2.
    pub(crate) version_2: bool,
}

/// Reads the scope of a client credentials request: one resource with `/.default`. Scopes of OpenID
/// Connect beside it are tolerated, since several clients always send them.
pub(crate) fn for_application(
    world: &World,
    tenant: &Tenant,
    place: &Place<'_>,
    scope: &str,
) -> Result<Resource, Refusal> {
    let mut asked = scope.split_whitespace().filter(|it| !is_openid(it));
    let not_default = || {
        Refusal::new(
            400,
            "invalid_scope",
            1_002_012,
            format!(
                "The provided value for scope {scope} is not valid. Client credential flows must have a \
                 scope value with /.default suffixed to the resource identifier (application ID URI)."
            ),
        )
    };
    let first = asked.next().ok_or_else(not_default)?;
    let name = first.strip_suffix("/.default").ok_or_else(not_default)?;
    if asked.any(|other| other != first) {
        return Err(Refusal::new(
            400,
            "invalid_scope",
            28_002,
            format!(
                "Provided value for scope {scope} is not valid when requesting an access token. Please \
                 specify one resource only."
            ),
        ));
    }
    find(world, tenant, place, name)
}

/// Finds the resource with an identifier: an application ID URI or a client id.
pub(crate) fn find(
    world: &World,
    tenant: &Tenant,
    place: &Place<'_>,
    name: &str,
) -> Result<Resource, Refusal> {
    let plain = name.trim_end_matches('/');
    let origins = &place.service.origins;
    let own_graph = [origins.graph.as_str(), place.origin]
        .into_iter()
        .any(|origin| origin.eq_ignore_ascii_case(plain));
    let wanted = if own_graph { GRAPH } else { plain };
    let principal = tenant
        .of_kind(Kind::ServicePrincipal)
        .find(|object| is_named(object, wanted))
        .ok_or_else(|| absent(name, tenant))?;
    if principal.is_disabled() {
        return Err(Refusal::new(
            400,
            "invalid_resource",
            500_014,
            format!("The service principal for resource '{name}' is disabled."),
        ));
    }
    let version = world
        .directory
        .application(principal.app_id)
        .and_then(|(_, it)| it.property("api")["requestedAccessTokenVersion"].as_i64());
    Ok(Resource {
        audience: if version == Some(2) {
            principal.app_id.to_string()
        } else {
            wanted.to_owned()
        },
        principal: principal.id,
        app_id: principal.app_id,
        is_graph: principal.app_id == GRAPH_APP_ID,
        version_2: version == Some(2),
    })
}

/// Tells whether a scope belongs to OpenID Connect rather than to a resource.
pub(crate) fn is_openid(scope: &str) -> bool {
    matches!(scope, "openid" | "profile" | "email" | "offline_access")
}

fn is_named(principal: &Object, name: &str) -> bool {
    principal
        .texts("servicePrincipalNames")
        .any(|known| known.trim_end_matches('/').eq_ignore_ascii_case(name))
}

fn absent(name: &str, tenant: &Tenant) -> Refusal {
    Refusal::new(
        400,
        "invalid_resource",
        500_011,
        format!(
            "The resource principal named {name} was not found in the tenant named {}. This can happen if \
             the application has not been installed by the administrator of the tenant or consented to by \
             any user in the tenant. You might have sent your authentication request to the wrong tenant.",
            tenant.display_name
        ),
    )
}

/// Graph's own identifier in the public cloud.
pub(crate) const GRAPH: &str = "https://graph.microsoft.com";
