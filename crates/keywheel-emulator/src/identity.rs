mod assertion;
mod client;
mod discovery;
mod grant;
mod issue;
mod refusal;
mod resource;
mod token;

use http::StatusCode;
use serde_json::json;

pub(crate) use self::grant::Grants;
pub(crate) use self::refusal::{Refusal, login_headers};
pub(crate) use self::token::too_many_requests;
use crate::Route;
use crate::call::{Call, Ids, Reply};
use crate::random;
use crate::world::Service;

/// Names the operation that a path of the login host asks for, and the tenant in it.
pub(crate) fn route(call: &Call) -> (Route, &str) {
    let parts: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    match parts.as_slice() {
        ["common", "discovery", "instance"] => (Route::InstanceDiscovery, "common"),
        ["error"] => (Route::ErrorPage, ""),
        [tenant, "v2.0", ".well-known", "openid-configuration"] => (Route::Discovery, tenant),
        [tenant, "discovery", "v2.0", "keys"] => (Route::Keys, tenant),
        [tenant, "oauth2", "v2.0", "token"] => (Route::Token, tenant),
        _ => (Route::Unserved, ""),
    }
}

/// Answers a request to the login host.
pub(crate) fn answer(
    service: &Service,
    call: &Call,
    route: Route,
    tenant: &str,
    number: u64,
    mut ids: Ids,
) -> Reply {
    // Unlike Graph, the login host gives what the client did not name an id of its own.
    if ids.correlation == ids.request {
        ids.correlation = random::guid();
    }
    match route {
        Route::Discovery => discovery::document(service, call, tenant, ids),
        Route::InstanceDiscovery => discovery::instance(service, call, ids),
        Route::Keys => discovery::keys(service, call, tenant, ids),
        Route::Token => token::answer(service, call, tenant, number, ids),
        _ => unserved(call),
    }
}

/// What a login path answers that the emulator does not serve.
fn unserved(call: &Call) -> Reply {
    Reply::json(
        StatusCode::NOT_FOUND,
        &json!({ "error": {
            "code": "ResourceNotFound",
            "message": format!("the emulator does not serve {} {}", call.method, call.path),
        }}),
    )
}
