mod assertion;
mod authorize;
mod client;
mod consent;
mod discovery;
mod flow;
mod grant;
mod issue;
mod page;
mod refusal;
mod resource;
mod scope;
mod signin;
mod token;

use http::header::SET_COOKIE;
use http::{Method, StatusCode};
use serde_json::json;
use url::Url;

use self::flow::Purpose;
pub(crate) use self::grant::Grants;
pub(crate) use self::issue::pairwise;
pub(crate) use self::refusal::{Refusal, login_headers};
use self::token::Place;
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
        [tenant, "adminconsent"] | [tenant, "v2.0", "adminconsent"] => {
            (Route::AdminConsent, tenant)
        }
        [tenant, "consent"] => (Route::Consent, tenant),
        [tenant, "discovery", "v2.0", "keys"] => (Route::Keys, tenant),
        [tenant, "login"] => (Route::SignIn, tenant),
        [tenant, "oauth2", "v2.0", "authorize"] => (Route::Authorize, tenant),
        [tenant, "oauth2", "v2.0", "logout"] => (Route::Logout, tenant),
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
    let place = || Place {
        service,
        origin: &call.origin,
        tenant,
        seen: service.world().seen(service.clock.now()),
        number,
    };
    match route {
        Route::AdminConsent => signin::begin(call, &place(), ids, Purpose::AdminConsent),
        Route::Authorize => signin::begin(call, &place(), ids, Purpose::Code),
        Route::Consent | Route::SignIn if call.method != Method::POST => unserved(call),
        Route::Consent => signin::consented(call, &place(), ids),
        Route::SignIn => signin::signed(call, &place(), ids),
        Route::ErrorPage => error_page(call),
        Route::Logout => logout(call),
        Route::Discovery => discovery::document(service, call, tenant, ids),
        Route::InstanceDiscovery => discovery::instance(service, call, ids),
        Route::Keys => discovery::keys(service, call, tenant, ids),
        Route::Token => token::answer(service, call, tenant, number, ids),
        _ => unserved(call),
    }
}

/// Walks through the pages of an authorization or consent address as `user`, accepting everything. Returns
/// where the browser ends up; nothing when it ends on a page.
pub(crate) fn walk(service: &Service, call: &Call, number: u64, user: &str) -> Option<String> {
    let (route, tenant) = route(call);
    let purpose = match route {
        Route::AdminConsent => Purpose::AdminConsent,
        Route::Authorize => Purpose::Code,
        _ => return None,
    };
    let place = Place {
        service,
        origin: &call.origin,
        tenant,
        seen: service.world().seen(service.clock.now()),
        number,
    };
    signin::walk(call, &place, Ids::of(call), purpose, user)?.location()
}

fn error_page(call: &Call) -> Reply {
    let code = call.query.get("code").unwrap_or_default();
    let text = format!(
        "AADSTS{code}. See https://learn.microsoft.com/entra/identity-platform/reference-error-codes"
    );
    Reply::html(StatusCode::OK, page::notice("Error", &text))
}

/// Ends the browser's session, and goes where the application wants.
fn logout(call: &Call) -> Reply {
    let to = call
        .query
        .get("post_logout_redirect_uri")
        .filter(|uri| Url::parse(uri).is_ok());
    let mut reply = match to {
        Some(uri) => Reply::redirect(uri),
        None => Reply::html(
            StatusCode::OK,
            page::notice("You signed out of your account", ""),
        ),
    };
    let expired = format!("{}=; path=/; secure; HttpOnly; Max-Age=0", flow::SESSION);
    reply.set(SET_COOKIE, &expired);
    reply
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
