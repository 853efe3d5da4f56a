use http::StatusCode;
use url::Url;
use uuid::Uuid;

use super::discovery::is_shared;
use super::flow::{Challenge, Flow, Mode, Next, Platform, Purpose};
use super::scope::Scopes;
use super::token::Place;
use super::{Refusal, client, page};
use crate::call::{Call, Pairs};
use crate::directory::{Object, Tenant};
use crate::world::World;

/// Reads an authorization request. What is wrong with the client or the redirect URI is shown on a page,
/// never sent anywhere.
pub(crate) fn begin(world: &World, call: &Call, place: &Place<'_>) -> Result<Begun, Refusal> {
    let sent = parameters(call);
    let required = |name: &str| sent.get(name).ok_or_else(|| Refusal::missing(name));
    let client_id = required("client_id")?;
    let (tenant, application) = registered(world, place, client_id)?;
    let (redirect_uri, platform) = redirect(application, sent.get("redirect_uri"))?;
    let purpose = Purpose::Code;
    let flow = Flow {
        purpose,
        place: place.tenant.to_owned(),
        client_id: application.app_id,
        redirect_uri,
        platform,
        mode: mode(&sent),
        state: sent.get("state").map(str::to_owned),
        scope: sent.get("scope").unwrap_or_default().to_owned(),
        nonce: sent.get("nonce").map(str::to_owned),
        challenge: None,
        prompt: sent.get("prompt").map(str::to_owned),
        login_hint: sent.get("login_hint").map(str::to_owned),
        user: None,
        begun: place.seen.now,
    };
    let refused = check(world, tenant, application, place, &sent, &flow).err();
    let challenge = challenge(&sent, platform);
    Ok(match (refused, challenge) {
        (Some(refusal), _) | (None, Err(refusal)) => Begun {
            flow,
            refusal: Some(refusal),
        },
        (None, Ok(challenge)) => Begun {
            flow: Flow { challenge, ..flow },
            refusal: None,
        },
    })
}

/// Reads a request for an administrator's consent.
pub(crate) fn begin_consent(
    world: &World,
    call: &Call,
    place: &Place<'_>,
) -> Result<Begun, Refusal> {
    let sent = parameters(call);
    let client_id = sent
        .get("client_id")
        .ok_or_else(|| Refusal::missing("client_id"))?;
    let (_, application) = registered(world, place, client_id)?;
    let (redirect_uri, platform) = redirect(application, sent.get("redirect_uri"))?;
    Ok(Begun {
        flow: Flow {
            purpose: Purpose::AdminConsent,
            place: place.tenant.to_owned(),
            client_id: application.app_id,
            redirect_uri,
            platform,
            mode: Mode::Query,
            state: sent.get("state").map(str::to_owned),
            scope: sent.get("scope").unwrap_or_default().to_owned(),
            nonce: None,
            challenge: None,
            prompt: Some("consent".to_owned()),
            login_hint: sent.get("login_hint").map(str::to_owned),
            user: None,
            begun: place.seen.now,
        },
        refusal: None,
    })
}

/// A flow, and why it must end at once.
pub(crate) struct Begun {
    pub(crate) flow: Flow,
    pub(crate) refusal: Option<Refusal>,
}

/// Shows on a page what can't be sent back.
pub(crate) fn error_page(description: &str) -> Next {
    Next::Page(StatusCode::OK, page::error(description))
}

fn parameters(call: &Call) -> Pairs {
    let mut pairs = call.query.clone();
    pairs.0.extend(call.form.0.iter().cloned());
    pairs
}

/// Finds the application that wants to sign users in, and the tenant in which its scopes are looked up.
fn registered<'w>(
    world: &'w World,
    place: &Place<'_>,
    client_id: &str,
) -> Result<(&'w Tenant, &'w Object), Refusal> {
    let id = Uuid::try_parse(client_id).ok();
    let found = id.and_then(|id| world.directory.application(id));
    if !is_shared(place.tenant) {
        let tenant = world
            .directory
            .tenant(place.tenant)
            .ok_or_else(|| Refusal::tenant_not_found(place.tenant))?;
        client::find(world, tenant, client_id, place.seen)?;
        let (_, application) =
            found.ok_or_else(|| Refusal::application_not_found(client_id, &tenant.display_name))?;
        return Ok((tenant, application));
    }
    let (home, application) =
        found.ok_or_else(|| Refusal::application_not_found(client_id, place.tenant))?;
    if !application.is_multi_tenant() {
        return Err(Refusal::invalid_request(
            50_194,
            format!(
                "Application '{id}'({}) is not configured as a multi-tenant application. Usage of the /{} \
                 endpoint is not supported for such apps created after '10/15/2018'. Use a tenant-specific \
                 endpoint or configure the application to be multi-tenant.",
                application.display_name(),
                place.tenant,
                id = application.app_id
            ),
        ));
    }
    Ok((home, application))
}

/// Finds the registered redirect URI. The path counts, case included; a port of localhost does not.
fn redirect(application: &Object, sent: Option<&str>) -> Result<(String, Platform), Refusal> {
    let Some(sent) = sent else {
        return Err(Refusal::invalid_request(
            900_971,
            "No reply address provided.",
        ));
    };
    let platforms = [
        ("web", Platform::Web),
        ("spa", Platform::Spa),
        ("publicClient", Platform::Public),
    ];
    let found = platforms.into_iter().find(|(name, _)| {
        application
            .redirect_uris_of(name)
            .any(|known| same_uri(known, sent))
    });
    let (_, platform) = found.ok_or_else(|| {
        Refusal::invalid_request(
            50_011,
            format!(
                "The redirect URI '{sent}' specified in the request does not match the redirect URIs \
                 configured for the application '{}'. Make sure the redirect URI sent in the request \
                 matches one added to your application in the Azure portal. Navigate to \
                 https://aka.ms/redirectUriMismatchError to learn more about how to fix this.",
                application.app_id
            ),
        )
    })?;
    Ok((sent.to_owned(), platform))
}

fn same_uri(known: &str, sent: &str) -> bool {
    if known == sent {
        return true;
    }
    let (Ok(known), Ok(mut sent)) = (Url::parse(known), Url::parse(sent)) else {
        return false;
    };
    let local = matches!(sent.host_str(), Some("localhost" | "127.0.0.1"));
    local && sent.set_port(known.port()).is_ok() && known == sent
}

fn mode(sent: &Pairs) -> Mode {
    match sent.get("response_mode") {
        Some("form_post") => Mode::FormPost,
        Some("fragment") => Mode::Fragment,
        _ => Mode::Query,
    }
}

fn check(
    world: &World,
    tenant: &Tenant,
    application: &Object,
    place: &Place<'_>,
    sent: &Pairs,
    flow: &Flow,
) -> Result<(), Refusal> {
    let kind = sent
        .get("response_type")
        .ok_or_else(|| Refusal::missing("response_type"))?;
    if kind != "code" {
        return Err(Refusal::new(
            400,
            "unsupported_response_type",
            700_054,
            format!("response_type '{kind}' is not enabled for the application."),
        ));
    }
    if flow.scope.trim().is_empty() {
        return Err(Refusal::missing("scope"));
    }
    Scopes::read(world, tenant, place, Some(application), &flow.scope).map(drop)
}

fn challenge(sent: &Pairs, platform: Platform) -> Result<Option<Challenge>, Refusal> {
    let Some(value) = sent.get("code_challenge") else {
        if platform == Platform::Spa {
            return Err(Refusal::invalid_request(
                9_002_325,
                "Proof Key for Code Exchange is required for cross-origin authorization code redemption.",
            ));
        }
        return Ok(None);
    };
    if !(43..=128).contains(&value.len()) {
        return Err(Refusal::invalid_request(
            501_491,
            "Invalid size of Code_Challenge parameter.",
        ));
    }
    let hashed = match sent.get("code_challenge_method") {
        Some("S256") => true,
        None | Some("plain") => false,
        Some(_) => {
            return Err(Refusal::invalid_request(
                50_149,
                "Invalid Code_Challenge_method parameter.",
            ));
        }
    };
    Ok(Some(Challenge {
        hashed,
        value: value.to_owned(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris_match_as_the_service_matches_them() {
        for (known, sent, expected) in [
            ("https://app.example/cb", "https://app.example/cb", true),
            ("https://app.example/cb", "https://app.example/CB", false),
            ("https://app.example/cb", "https://app.example/cb/", false),
            (
                "https://app.example/cb",
                "https://app.example:444/cb",
                false,
            ),
            (
                "https://app.example/cb",
                "https://app.example/cb?x=1",
                false,
            ),
            ("http://localhost/cb", "http://localhost:5000/cb", true),
            ("http://localhost:3000/cb", "http://localhost/cb", true),
            ("http://localhost/cb", "https://localhost:5000/cb", false),
            ("http://localhost/cb", "http://localhost:5000/other", false),
            ("http://localhost/cb", "nonsense", false),
        ] {
            assert_eq!(same_uri(known, sent), expected, "{known} {sent}");
        }
    }
}
