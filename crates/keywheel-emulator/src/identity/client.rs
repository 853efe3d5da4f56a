use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use http::header::AUTHORIZATION;
use url::form_urlencoded;
use uuid::Uuid;

use super::token::Exchange;
use super::{Refusal, assertion};
use crate::behaviour::{Behaviours, Event, Seen};
use crate::call::{Call, Pairs};
use crate::directory::{Kind, Object, Tenant};
use crate::world::World;

/// The application that calls, and where it lives.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) client_id: Uuid,
    pub(crate) name: String,
    /// Its service principal in the tenant of the request.
    pub(crate) principal: Option<Uuid>,
    /// The tenant of the request.
    pub(crate) tenant: Uuid,
}

/// How a client proved itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    Certificate(Uuid),
    Federated(Uuid),
    /// Not at all: a public client.
    None,
    Secret(Uuid),
}

impl Proof {
    pub(crate) fn is_none(self) -> bool {
        self == Self::None
    }

    pub(crate) fn key_id(self) -> Option<Uuid> {
        match self {
            Self::Certificate(id) | Self::Federated(id) | Self::Secret(id) => Some(id),
            Self::None => None,
        }
    }

    /// Returns the claim that says how: `appidacr` or `azpacr`.
    pub(crate) fn context(self) -> &'static str {
        match self {
            Self::None => "0",
            Self::Secret(_) => "1",
            Self::Certificate(_) | Self::Federated(_) => "2",
        }
    }
}

/// Returns the client id that a request names, for the log.
pub(crate) fn named(call: &Call, form: &Pairs) -> Option<Uuid> {
    let basic = basic(call).map(|(id, _)| id);
    Uuid::try_parse(&basic.or_else(|| form.get("client_id").map(str::to_owned))?).ok()
}

/// Finds the application that a request names.
pub(crate) fn identify(
    world: &World,
    tenant: &Tenant,
    exchange: &Exchange<'_>,
) -> Result<Client, Refusal> {
    let text = match basic(exchange.call) {
        Some((id, _)) => id,
        None => exchange.required("client_id")?.to_owned(),
    };
    find(world, tenant, &text, exchange.seen)
}

/// Finds the application with a client id, as a tenant sees it.
pub(crate) fn find(
    world: &World,
    tenant: &Tenant,
    client_id: &str,
    seen: Seen,
) -> Result<Client, Refusal> {
    let absent = || Refusal::application_not_found(client_id, &tenant.display_name);
    let id = Uuid::try_parse(client_id).map_err(|_| absent())?;
    if id.is_nil() {
        return Err(Refusal::new(
            400,
            "unauthorized_client",
            700_038,
            format!("{id} is not a valid application identifier."),
        ));
    }
    let behaviours = &world.behaviours;
    let arrived = |object: &&Object| {
        behaviours.arrived(
            behaviours.object_lag,
            object.id,
            Event::Created,
            object.created,
            seen,
        )
    };
    let principal = tenant.by_app_id(Kind::ServicePrincipal, id).filter(arrived);
    let application = world.directory.application(id);
    let at_home =
        application.is_some_and(|(home, object)| home.id == tenant.id && arrived(&object));
    let reachable = at_home || application.is_some_and(|(_, object)| object.is_multi_tenant());
    if principal.is_none() && !reachable {
        return Err(absent());
    }
    let objects = [application.map(|(_, object)| object), principal];
    if let Some(object) = objects
        .into_iter()
        .flatten()
        .find(|object| object.is_disabled())
    {
        return Err(Refusal::new(
            400,
            "unauthorized_client",
            7_000_112,
            format!("Application '{id}'({}) is disabled.", object.display_name()),
        ));
    }
    let name = objects
        .into_iter()
        .flatten()
        .next()
        .map(Object::display_name);
    Ok(Client {
        client_id: id,
        name: name.unwrap_or_default().to_owned(),
        principal: principal.map(|principal| principal.id),
        tenant: tenant.id,
    })
}

/// Checks the secret or assertion that came along.
pub(crate) fn prove(
    world: &World,
    exchange: &Exchange<'_>,
    client: &Client,
) -> Result<Proof, Refusal> {
    let form = exchange.form;
    let basic = basic(exchange.call)
        .map(|(_, secret)| secret)
        .filter(|it| !it.is_empty());
    if let Some(assertion) = form.get("client_assertion") {
        let kind = exchange.required("client_assertion_type")?;
        if kind != JWT_BEARER {
            return Err(Refusal::invalid_request(
                7_000_217,
                format!("The 'client_assertion_type' parameter has an unsupported value '{kind}'."),
            ));
        }
        return assertion::verify(world, exchange, client, assertion);
    }
    match form.get("client_secret").map(str::to_owned).or(basic) {
        Some(secret) => check_secret(
            &credentials_of(world, client),
            &secret,
            client,
            &world.behaviours,
            exchange.seen,
        ),
        None => Ok(Proof::None),
    }
}

/// Returns the objects whose credentials a client may use: the application, and its service principal.
pub(crate) fn credentials_of<'w>(world: &'w World, client: &Client) -> Vec<&'w Object> {
    let application = world.directory.application(client.client_id);
    let tenant = world.directory.tenants.get(&client.tenant);
    let principal = tenant.and_then(|tenant| tenant.objects.get(&client.principal?));
    application
        .map(|(_, object)| object)
        .into_iter()
        .chain(principal)
        .collect()
}

fn check_secret(
    objects: &[&Object],
    text: &str,
    client: &Client,
    behaviours: &Behaviours,
    seen: Seen,
) -> Result<Proof, Refusal> {
    let fitting = || {
        objects
            .iter()
            .flat_map(|object| &object.passwords)
            .filter(|password| password.text.expose() == text)
            .filter(|it| it.history.in_token_service(it.key_id, behaviours, seen))
    };
    if let Some(password) = fitting().find(|it| within(it.start, it.end, seen.now)) {
        return Ok(Proof::Secret(password.key_id));
    }
    Err(if fitting().any(|password| password.end <= seen.now) {
        Refusal::expired_secret(client.client_id)
    } else {
        Refusal::wrong_secret(client.client_id)
    })
}

/// Tells whether a time lies in a credential's validity.
pub(crate) fn within(start: DateTime<Utc>, end: DateTime<Utc>, now: DateTime<Utc>) -> bool {
    start <= now && now < end
}

/// Returns id and secret from HTTP Basic authentication, each form-encoded (RFC 6749 2.3.1).
fn basic(call: &Call) -> Option<(String, String)> {
    let (scheme, value) = call.header(AUTHORIZATION.as_str())?.split_once(' ')?;
    let decoded = scheme
        .eq_ignore_ascii_case("basic")
        .then(|| STANDARD.decode(value.trim()).ok())??;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((form_decoded(id), form_decoded(secret)))
}

fn form_decoded(text: &str) -> String {
    let pair = format!("x={}", text.replace('&', "%26"));
    form_urlencoded::parse(pair.as_bytes())
        .next()
        .map(|(_, value)| value.into_owned())
        .unwrap_or_default()
}

const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
