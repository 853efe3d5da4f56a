use http::StatusCode;
use uuid::Uuid;

use super::authorize::{self, Begun, error_page};
use super::consent;
use super::discovery::is_shared;
use super::flow::{Flow, Next, Purpose, SESSION};
use super::grant::Session;
use super::token::Place;
use super::{Refusal, page};
use crate::call::{Call, Ids, Reply};
use crate::directory::User;
use crate::log::Effect;
use crate::random;
use crate::world::World;

/// `/authorize` and `/adminconsent`: the sign-in page, or what comes after it for who has signed in.
pub(crate) fn begin(call: &Call, place: &Place<'_>, ids: Ids, purpose: Purpose) -> Reply {
    let world = &mut *place.service.world();
    let begun = match purpose {
        Purpose::Code => authorize::begin(world, call, place),
        Purpose::AdminConsent => authorize::begin_consent(world, call, place),
    };
    let begun = match begun {
        Ok(begun) => begun,
        Err(refusal) => return show(world, place, &refusal, ids).reply(None),
    };
    let Begun { mut flow, refusal } = begun;
    if let Some(refusal) = refusal {
        return fail(world, place, &flow, &refusal, ids).reply(None);
    }
    let prompt = flow.prompt.clone().unwrap_or_default();
    let fresh = prompt
        .split_whitespace()
        .any(|it| it == "login" || it == "select_account");
    flow.user = session_user(world, call, &flow).filter(|_| !fresh);
    match (flow.user, prompt.as_str()) {
        (Some(_), _) => proceed(world, place, flow, ids).reply(None),
        (None, "none") => {
            let text = "Session information is not sufficient for single-sign-on.";
            let refusal = Refusal::new(400, "login_required", 50_058, text);
            fail(world, place, &flow, &refusal, ids).reply(None)
        }
        (None, _) => ask(world, flow, None).reply(None),
    }
}

/// `POST /{tenant}/login`: user and password.
pub(crate) fn signed(call: &Call, place: &Place<'_>, ids: Ids) -> Reply {
    let form = &call.form;
    let world = &mut *place.service.world();
    let Some(mut flow) = form
        .get("ctx")
        .and_then(|id| world.grants.take_flow(id, place.seen.now))
    else {
        return lost().reply(None);
    };
    if form.get("action") == Some("cancel") {
        return fail(world, place, &flow, &cancelled(), ids).reply(None);
    }
    let name = form.get("login").unwrap_or_default();
    let password = form.get("passwd").unwrap_or_default();
    let found = world.directory.user(name);
    let user = match found {
        None => Err("We couldn't find an account with that username. (AADSTS50034)"),
        Some((_, user)) if user.password.expose() != password => {
            Err("Your account or password is incorrect. (AADSTS50126)")
        }
        Some((tenant, _)) if !may_enter(world, &flow, tenant.id) => {
            Err("Your account does not exist in this tenant. (AADSTS50020)")
        }
        Some((tenant, user)) => Ok((tenant.id, user.id)),
    };
    match user {
        Ok(user) => {
            flow.user = Some(user);
            let session = world.grants.remember(user, place.seen.now);
            proceed(world, place, flow, ids).reply(Some(&session))
        }
        Err(text) => {
            flow.login_hint = Some(name.to_owned());
            ask(world, flow, Some(text)).reply(None)
        }
    }
}

/// `POST /{tenant}/consent`: accepted or declined.
pub(crate) fn consented(call: &Call, place: &Place<'_>, ids: Ids) -> Reply {
    let form = &call.form;
    let world = &mut *place.service.world();
    let Some(flow) = form
        .get("ctx")
        .and_then(|id| world.grants.take_flow(id, place.seen.now))
    else {
        return lost().reply(None);
    };
    if flow.user.is_none() {
        return lost().reply(None);
    }
    if form.get("action") != Some("accept") {
        return fail(world, place, &flow, &declined(), ids).reply(None);
    }
    accept(world, place, &flow, form.get("all").is_some(), ids).reply(None)
}

/// Signs a user in and consents to everything, as a person at the pages would. For tests.
pub(crate) fn walk(
    call: &Call,
    place: &Place<'_>,
    ids: Ids,
    purpose: Purpose,
    user: &str,
) -> Option<Next> {
    let world = &mut *place.service.world();
    let begun = match purpose {
        Purpose::Code => authorize::begin(world, call, place),
        Purpose::AdminConsent => authorize::begin_consent(world, call, place),
    };
    let Begun { mut flow, refusal } = begun.ok()?;
    if let Some(refusal) = refusal {
        return Some(fail(world, place, &flow, &refusal, ids));
    }
    let (tenant, user) = world.directory.user(user)?;
    let found = (tenant.id, user.id);
    if !may_enter(world, &flow, found.0) {
        return None;
    }
    flow.user = Some(found);
    match proceed(world, place, flow.clone(), ids) {
        Next::Page(..) => Some(accept(world, place, &flow, false, ids)),
        done => Some(done),
    }
}

/// Goes on with who has signed in: asks for consent, or returns to the application.
fn proceed(world: &mut World, place: &Place<'_>, flow: Flow, ids: Ids) -> Next {
    match consent::wanted(world, place, &flow) {
        Err(refusal) => fail(world, place, &flow, &refusal, ids),
        Ok(wanted) if wanted.is_settled() => finish(world, place, &flow),
        Ok(_) if flow.prompt.as_deref() == Some("none") => {
            let text = "The user or administrator has not consented to use the application. Send an \
                        interactive authorization request for this user and resource.";
            let refusal = Refusal::new(400, "interaction_required", 65_001, text);
            fail(world, place, &flow, &refusal, ids)
        }
        Ok(wanted) => {
            let action = format!("/{}/consent", flow.place);
            let name = application_name(world, flow.client_id);
            let permissions = wanted.permissions.clone();
            let (for_all, allowed) = (wanted.for_all, wanted.is_allowed);
            let context = world.grants.keep_flow(flow);
            let listed: Vec<&str> = permissions.iter().map(String::as_str).collect();
            let html = if allowed {
                page::consent(&action, &context, &name, &listed, for_all)
            } else {
                let text = "This application needs permission to access resources in your organization that \
                            only an admin can grant. (AADSTS90094)";
                page::approval(&action, &context, &name, text)
            };
            Next::Page(StatusCode::OK, html)
        }
    }
}

/// Carries a consent out, and returns to the application.
fn accept(world: &mut World, place: &Place<'_>, flow: &Flow, for_all: bool, ids: Ids) -> Next {
    match consent::grant(world, place, flow, for_all) {
        Ok(()) => finish(world, place, flow),
        Err(refusal) => fail(world, place, flow, &refusal, ids),
    }
}

fn finish(world: &mut World, place: &Place<'_>, flow: &Flow) -> Next {
    let (tenant, user) = flow.user.unwrap_or_default();
    if flow.purpose == Purpose::AdminConsent {
        let tenant = tenant.to_string();
        let scope = (!flow.scope.is_empty()).then_some(("scope", flow.scope.as_str()));
        let pairs: Vec<_> = [("admin_consent", "True"), ("tenant", &tenant)]
            .into_iter()
            .chain(scope)
            .collect();
        return flow.back(&pairs);
    }
    let code = world.grants.issue_code(flow, place.seen.now);
    let effect = Effect::CodeIssued {
        client_id: flow.client_id.to_string(),
        user: user_name(world, tenant, user),
    };
    place.service.note(world, Some(place.number), effect);
    let session_state = random::guid().to_string();
    flow.back(&[("code", &code), ("session_state", &session_state)])
}

fn ask(world: &mut World, flow: Flow, error: Option<&str>) -> Next {
    let action = format!("/{}/login", flow.place);
    let name = application_name(world, flow.client_id);
    let hint = flow.login_hint.clone().unwrap_or_default();
    let context = world.grants.keep_flow(flow);
    Next::Page(
        StatusCode::OK,
        page::sign_in(&action, &context, &name, &hint, error),
    )
}

fn fail(world: &World, place: &Place<'_>, flow: &Flow, refusal: &Refusal, ids: Ids) -> Next {
    flow.fail(
        refusal,
        ids,
        place.seen.now,
        &world.behaviours,
        place.origin,
    )
}

fn show(world: &World, place: &Place<'_>, refusal: &Refusal, ids: Ids) -> Next {
    error_page(&refusal.description(ids, place.seen.now, &world.behaviours))
}

/// A form that belongs to no sign-in under way.
fn lost() -> Next {
    let text = "AADSTS90015: The sign-in has expired or was never begun. Start again from the application.";
    Next::Page(StatusCode::BAD_REQUEST, page::error(text))
}

fn cancelled() -> Refusal {
    let text = "The user cancelled the authentication.";
    Refusal::new(400, "access_denied", 165_004, text).with_suberror("cancel")
}

fn declined() -> Refusal {
    Refusal::new(
        400,
        "access_denied",
        65_004,
        "User declined to consent to access the app.",
    )
}

/// Tells whether users of a tenant may sign in where the flow began.
fn may_enter(world: &World, flow: &Flow, tenant: Uuid) -> bool {
    match flow.place.as_str() {
        "consumers" => false,
        place if is_shared(place) => true,
        place => world
            .directory
            .tenant(place)
            .is_some_and(|it| it.id == tenant),
    }
}

fn session_user(world: &World, call: &Call, flow: &Flow) -> Option<(Uuid, Uuid)> {
    let cookies = call.header("cookie")?;
    let id = cookies
        .split(';')
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find(|(name, _)| *name == SESSION)?
        .1;
    let Session {
        tenant,
        user,
        since,
    } = world.grants.session(id)?;
    let known: &User = world.directory.tenants.get(&tenant)?.users.get(&user)?;
    (since >= known.valid_from && may_enter(world, flow, tenant)).then_some((tenant, user))
}

fn application_name(world: &World, client_id: Uuid) -> String {
    let found = world.directory.application(client_id);
    found.map_or_else(String::new, |(_, application)| {
        application.display_name().to_owned()
    })
}

pub(crate) fn user_name(world: &World, tenant: Uuid, user: Uuid) -> String {
    let tenant = world.directory.tenants.get(&tenant);
    let user = tenant.and_then(|tenant| tenant.users.get(&user));
    user.map_or_else(String::new, |user| user.name.clone())
}
