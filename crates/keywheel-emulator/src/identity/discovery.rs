use http::StatusCode;
use http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL};
use serde_json::{Value, json};
use url::Url;

use super::Refusal;
use crate::call::{Call, Ids, Reply};
use crate::world::Service;

/// Answers with a tenant's OpenID Connect discovery document.
pub(crate) fn document(service: &Service, call: &Call, tenant: &str, ids: Ids) -> Reply {
    let Some(place) = place_of(service, tenant) else {
        return unknown_tenant(service, call, tenant, ids);
    };
    let origin = &call.origin;
    let login = format!("{origin}/{}", place.path);
    let graph = &service.origins.graph;
    public(&json!({
        "token_endpoint": format!("{login}/oauth2/v2.0/token"),
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic"],
        "jwks_uri": format!("{login}/discovery/v2.0/keys"),
        "response_modes_supported": ["query", "fragment", "form_post"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "response_types_supported": ["code", "id_token", "code id_token", "id_token token"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "issuer": format!("{origin}/{}/v2.0", place.issuer),
        "request_uri_parameter_supported": false,
        "userinfo_endpoint": format!("{graph}/oidc/userinfo"),
        "authorization_endpoint": format!("{login}/oauth2/v2.0/authorize"),
        "device_authorization_endpoint": format!("{login}/oauth2/v2.0/devicecode"),
        "http_logout_supported": true,
        "frontchannel_logout_supported": true,
        "end_session_endpoint": format!("{login}/oauth2/v2.0/logout"),
        "claims_supported": ["sub", "iss", "cloud_instance_name", "cloud_instance_host_name",
            "cloud_graph_host_name", "msgraph_host", "aud", "exp", "iat", "auth_time", "acr", "nonce",
            "preferred_username", "name", "tid", "ver", "at_hash", "c_hash", "email"],
        "kerberos_endpoint": format!("{login}/kerberos"),
        "tenant_region_scope": place.region,
        "cloud_instance_name": "microsoftonline.com",
        "cloud_graph_host_name": "graph.windows.net",
        "msgraph_host": host_of(graph),
        "rbac_url": "https://pas.windows.net",
    }))
}

/// Answers with the keys that tokens are signed with.
pub(crate) fn keys(service: &Service, call: &Call, tenant: &str, ids: Ids) -> Reply {
    match place_of(service, tenant) {
        Some(place) => {
            let issuer = format!("{}/{}/v2.0", call.origin, place.issuer);
            public(&json!({ "keys": [service.keys.signing().jwk(&issuer)] }))
        }
        None => unknown_tenant(service, call, tenant, ids),
    }
}

/// Answers which hosts belong to the cloud of an authority.
pub(crate) fn instance(service: &Service, call: &Call, ids: Ids) -> Reply {
    let asked = call.query.get("authorization_endpoint");
    let asked = asked.and_then(|url| Url::parse(url).ok());
    let Some(tenant) = asked
        .as_ref()
        .and_then(|url| known_tenant(service, call, url))
    else {
        let text = "The specified authority host is not a known instance.";
        let refusal = Refusal::new(400, "invalid_instance", 50_049, text);
        return refused(service, call, &refusal, ids);
    };
    let own = host_of(&call.origin);
    public(&json!({
        "tenant_discovery_endpoint":
            format!("{}/{tenant}/v2.0/.well-known/openid-configuration", call.origin),
        "api-version": "1.1",
        "metadata": [
            {"preferred_network": own, "preferred_cache": own, "aliases": [own]},
            {"preferred_network": "login.microsoftonline.com", "preferred_cache": "login.windows.net",
             "aliases": PUBLIC_CLOUD},
            {"preferred_network": "login.partner.microsoftonline.cn",
             "preferred_cache": "login.partner.microsoftonline.cn",
             "aliases": ["login.partner.microsoftonline.cn", "login.chinacloudapi.cn"]},
            {"preferred_network": "login.microsoftonline.us", "preferred_cache": "login.microsoftonline.us",
             "aliases": ["login.microsoftonline.us", "login.usgovcloudapi.net"]},
        ],
    }))
}

/// Returns the tenant of an authority on a host that is ours or the public cloud's.
fn known_tenant(service: &Service, call: &Call, url: &Url) -> Option<String> {
    let host = url.host_str()?;
    let ours = [&call.origin, &service.origins.login]
        .into_iter()
        .any(|origin| Url::parse(origin).is_ok_and(|origin| origin.host_str() == Some(host)));
    let tenant = url.path_segments()?.next().filter(|it| !it.is_empty())?;
    (ours || PUBLIC_CLOUD.contains(&host)).then(|| tenant.to_owned())
}

/// The login hosts of the public cloud.
pub(crate) const PUBLIC_CLOUD: [&str; 4] = [
    "login.microsoftonline.com",
    "login.windows.net",
    "login.microsoft.com",
    "sts.windows.net",
];

/// What a tenant's name stands for in the documents.
struct Place {
    path: String,
    issuer: String,
    region: Value,
}

fn place_of(service: &Service, tenant: &str) -> Option<Place> {
    if is_shared(tenant) {
        return Some(Place {
            path: tenant.to_owned(),
            issuer: "{tenantid}".to_owned(),
            region: Value::Null,
        });
    }
    let world = service.world();
    let found = world.directory.tenant(tenant)?;
    Some(Place {
        path: found.id.to_string(),
        issuer: found.id.to_string(),
        region: json!("EU"),
    })
}

/// Tells whether the name stands for any tenant rather than for one.
pub(crate) fn is_shared(tenant: &str) -> bool {
    matches!(tenant, "common" | "organizations" | "consumers")
}

fn unknown_tenant(service: &Service, call: &Call, tenant: &str, ids: Ids) -> Reply {
    let refusal = Refusal {
        error: "invalid_tenant",
        ..Refusal::tenant_not_found(tenant)
    };
    refused(service, call, &refusal, ids)
}

fn refused(service: &Service, call: &Call, refusal: &Refusal, ids: Ids) -> Reply {
    let behaviours = &service.world().behaviours;
    refusal.reply(ids, service.clock.now(), behaviours, &call.origin)
}

fn public(body: &Value) -> Reply {
    let mut reply = Reply::json(StatusCode::OK, body);
    reply.set(CACHE_CONTROL, "max-age=86400, private");
    reply.set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    reply
}

/// Returns host and port of an origin.
fn host_of(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}
