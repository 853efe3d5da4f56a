use http::header::ACCESS_CONTROL_ALLOW_ORIGIN;
use http::{Method, StatusCode};
use serde::Serialize;
use uuid::Uuid;

use super::client::{self, Client};
use super::discovery::is_shared;
use super::issue::{Claims, Issue};
use super::refusal::token_headers;
use super::resource::{self, Resource};
use super::{Refusal, grant};
use crate::behaviour::Seen;
use crate::call::{Call, Ids, Pairs, Reply};
use crate::directory::Tenant;
use crate::log::Effect;
use crate::world::{Service, World};

/// One exchange with the token endpoint: what came, and when and where it is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exchange<'a> {
    pub(crate) service: &'a Service,
    pub(crate) call: &'a Call,
    pub(crate) form: &'a Pairs,
    /// The tenant as the path names it.
    pub(crate) tenant: &'a str,
    pub(crate) seen: Seen,
    /// The request's number in the log.
    pub(crate) number: u64,
}

/// Where and when a request to the login host is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place<'a> {
    pub(crate) service: &'a Service,
    /// `https://host:port` as the client wrote it.
    pub(crate) origin: &'a str,
    /// The tenant as the path names it.
    pub(crate) tenant: &'a str,
    pub(crate) seen: Seen,
    /// The request's number in the log.
    pub(crate) number: u64,
}

/// The token endpoint's answer, in the order in which the service writes it.
#[derive(Debug, Serialize)]
pub(crate) struct Issued {
    token_type: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<String>,
    expires_in: i64,
    ext_expires_in: i64,
    access_token: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_info: Option<String>,
}

/// Answers a token request.
pub(crate) fn answer(
    service: &Service,
    call: &Call,
    tenant: &str,
    number: u64,
    mut ids: Ids,
) -> Reply {
    let form = &call.form;
    let asked = form
        .get("client-request-id")
        .and_then(|id| Uuid::try_parse(id).ok());
    ids.correlation = asked.unwrap_or(ids.correlation);
    let (seen, throttled) = {
        let mut world = service.world();
        let now = service.clock.now();
        (world.seen(now), throttled(&mut world, now))
    };
    if let Some(reply) = throttled {
        return reply;
    }
    let exchange = Exchange {
        service,
        call,
        form,
        tenant,
        seen,
        number,
    };
    let mut reply = match exchange.run() {
        Ok(issue) => Reply::json(StatusCode::OK, &issue.sign(&exchange)),
        Err(refusal) => {
            let behaviours = &service.world().behaviours;
            refusal.reply(ids, seen.now, behaviours, &call.origin)
        }
    };
    reply.note.client_id = client::named(call, form);
    if call.header("origin").is_some() {
        reply.set(ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    }
    token_headers(&mut reply);
    reply
}

impl Exchange<'_> {
    /// Decides what is issued. Signing takes longer than all the rest, and comes after, without the lock.
    fn run(&self) -> Result<Issue, Refusal> {
        if self.call.method != Method::POST {
            return Err(Refusal::invalid_request(
                900_561,
                format!(
                    "The endpoint only accepts POST requests. Received a {} request.",
                    self.call.method
                ),
            ));
        }
        if let Some(name) = self.form.duplicate() {
            return Err(Refusal::invalid_request(
                9_000_411,
                format!(
                    "The request is not properly formatted. The parameter '{name}' is duplicated."
                ),
            ));
        }
        let world = &mut *self.service.world();
        let grant_type = self.required("grant_type")?;
        if let Some(resource) = self.form.get("resource") {
            return Err(Refusal::invalid_request(
                901_002,
                format!(
                    "The 'resource' request parameter is not supported. Received '{resource}'."
                ),
            ));
        }
        match grant_type {
            "authorization_code" => grant::redeem_code(world, self),
            "client_credentials" => self.client_credentials(world),
            "refresh_token" => grant::redeem_refresh_token(world, self),
            other => Err(Refusal::new(
                400,
                "unsupported_grant_type",
                70_003,
                format!("The app requested an unsupported grant type '{other}'."),
            )),
        }
    }

    fn client_credentials(&self, world: &mut World) -> Result<Issue, Refusal> {
        if is_shared(self.tenant) {
            return Err(Refusal::invalid_request(
                9_001_023,
                format!(
                    "The grant type 'client_credentials' is not supported over the /{} endpoint. Please \
                     use the /organizations or tenant-specific endpoint.",
                    self.tenant
                ),
            ));
        }
        let tenant = self.tenant(world)?;
        let client = client::identify(world, tenant, self)?;
        let principal = client.installed(tenant)?;
        let proof = client::prove(world, self, &client)?;
        if proof.is_none() {
            return Err(Refusal::invalid_client(
                7_000_216,
                "'client_assertion', 'client_secret' or 'request' is required for the \
                 'client_credentials' grant type.",
            ));
        }
        let scope = self
            .form
            .get("scope")
            .ok_or_else(|| missing_field("scope"))?;
        let resource = resource::for_application(world, tenant, &self.place(), scope)?;
        let roles = granted_roles(world, tenant, principal, &resource, self.seen);
        let lifetime = self.lifetime(world, &resource);
        let claims = Claims::application(tenant, &client, principal, proof, &resource, &roles);
        let issue = Issue::of(self, claims, lifetime);
        let effect = Effect::TokenIssued {
            client_id: client.client_id.to_string(),
            grant: "client_credentials".to_owned(),
            credential: proof.key_id().map(|id| id.to_string()),
            user: None,
            expires: issue.expires(),
        };
        self.service.note(world, Some(self.number), effect);
        Ok(issue)
    }

    pub(crate) fn place(&self) -> Place<'_> {
        Place {
            service: self.service,
            origin: &self.call.origin,
            tenant: self.tenant,
            seen: self.seen,
            number: self.number,
        }
    }

    pub(crate) fn required(&self, name: &str) -> Result<&str, Refusal> {
        self.form.get(name).ok_or_else(|| Refusal::missing(name))
    }

    pub(crate) fn tenant<'w>(&self, world: &'w World) -> Result<&'w Tenant, Refusal> {
        world
            .directory
            .tenant(self.tenant)
            .ok_or_else(|| Refusal::tenant_not_found(self.tenant))
    }

    /// Returns how long the token is valid: 60 to 90 minutes, or a day when the client can deal with a
    /// token that is revoked early and the resource is Graph.
    pub(crate) fn lifetime(&self, world: &World, resource: &Resource) -> chrono::TimeDelta {
        let capable = self
            .form
            .get("claims")
            .is_some_and(|claims| claims.contains("cp1"));
        if capable && resource.is_graph {
            return chrono::TimeDelta::seconds(86_400);
        }
        let share = crate::random::unit(u64::from_be_bytes(crate::random::bytes()));
        world.behaviours.token_lifetime.at(share)
    }
}

/// Signs what was decided.
impl Issue {
    fn sign(self, exchange: &Exchange<'_>) -> Issued {
        let key = exchange.service.keys.signing();
        let expires_in = self.expires_in();
        Issued {
            token_type: "Bearer",
            scope: self.scope,
            expires_in,
            ext_expires_in: expires_in,
            access_token: key.issue(&self.claims.json, self.claims.version_1),
            refresh_token: self.refresh_token,
            id_token: self.id_token.map(|claims| key.issue(&claims, false)),
            client_info: self.client_info,
        }
    }
}

fn granted_roles(
    world: &World,
    tenant: &Tenant,
    principal: Uuid,
    resource: &Resource,
    seen: Seen,
) -> Vec<String> {
    let Some(definition) = tenant.objects.get(&resource.principal) else {
        return Vec::new();
    };
    let behaviours = &world.behaviours;
    tenant
        .assignments
        .values()
        .filter(|it| it.principal == principal && it.resource == resource.principal)
        .filter(|it| {
            let event = crate::behaviour::Event::Granted;
            behaviours.arrived(behaviours.grant_lag, it.id, event, it.created, seen)
        })
        .filter_map(|it| definition.role_name(it.role))
        .map(str::to_owned)
        .collect()
}

/// Counts the request against the limit. A throttled token request is answered in plain text.
fn throttled(world: &mut World, now: chrono::DateTime<chrono::Utc>) -> Option<Reply> {
    let limit = world.behaviours.token_throttle.clone()?;
    world
        .throttles
        .token
        .exceeds(&limit, now)
        .then(|| too_many_requests(limit.retry_after))
}

/// What the token endpoint answers when it is throttled: no JSON.
pub(crate) fn too_many_requests(retry_after: Option<u32>) -> Reply {
    let text = "Too Many Requests".to_owned();
    let mut reply = Reply::text(StatusCode::TOO_MANY_REQUESTS, "text/plain", text);
    if let Some(seconds) = retry_after {
        reply.set(http::header::RETRY_AFTER, &seconds.to_string());
    }
    reply.note.code = Some("429".to_owned());
    reply
}

fn missing_field(name: &str) -> Refusal {
    Refusal::invalid_request(
        90_014,
        format!(
            "The required field '{name}' is missing from the credential. Ensure that you have all the \
             necessary parameters for the login request."
        ),
    )
}

impl Client {
    /// Returns the client's service principal in the tenant, without which it can't act there.
    pub(crate) fn installed(&self, tenant: &Tenant) -> Result<Uuid, Refusal> {
        self.principal.ok_or_else(|| {
            Refusal::invalid_client(
                7_000_229,
                format!(
                    "The client application {} is missing service principal in the tenant {}. See \
                     instructions here: https://go.microsoft.com/fwlink/?linkid=2225119",
                    self.client_id, tenant.id
                ),
            )
        })
    }
}
