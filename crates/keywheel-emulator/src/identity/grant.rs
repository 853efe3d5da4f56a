use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::Refusal;
use super::client::{self, Client, Proof};
use super::discovery::is_shared;
use super::flow::{Challenge, Flow, Platform};
use super::issue::{Issue, UserTokens};
use super::scope::Scopes;
use super::signin::user_name;
use super::token::Exchange;
use crate::directory::{Kind, Tenant, User};
use crate::jwt::encode;
use crate::log::Effect;
use crate::random;
use crate::world::World;

/// What signed-in users have left behind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Grants {
    flows: BTreeMap<String, Flow>,
    codes: BTreeMap<String, Code>,
    refresh_tokens: BTreeMap<String, Refresh>,
    sessions: BTreeMap<String, Session>,
}

/// An authorization code.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Code {
    client_id: Uuid,
    tenant: Uuid,
    user: Uuid,
    redirect_uri: String,
    platform: Platform,
    scope: String,
    nonce: Option<String>,
    challenge: Option<Challenge>,
    issued: DateTime<Utc>,
    redeemed: bool,
}

/// A refresh token. It is bound to client and user, not to a resource, and its use does not end it.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Refresh {
    client_id: Uuid,
    tenant: Uuid,
    user: Uuid,
    platform: Platform,
    scope: String,
    issued: DateTime<Utc>,
    expires: DateTime<Utc>,
}

/// Who has signed in with a browser.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Session {
    pub(crate) tenant: Uuid,
    pub(crate) user: Uuid,
    pub(crate) since: DateTime<Utc>,
}

impl Grants {
    /// Keeps a flow while the browser shows a page; returns the id that the page's form carries.
    pub(crate) fn keep_flow(&mut self, flow: Flow) -> String {
        let since = flow.begun - CODE_LIFETIME;
        self.flows.retain(|_, it| it.begun > since);
        let id = random::opaque(43);
        self.flows.insert(id.clone(), flow);
        id
    }

    pub(crate) fn take_flow(&mut self, id: &str, now: DateTime<Utc>) -> Option<Flow> {
        self.flows
            .remove(id)
            .filter(|flow| now < flow.begun + CODE_LIFETIME)
    }

    pub(crate) fn remember(
        &mut self,
        (tenant, user): (Uuid, Uuid),
        since: DateTime<Utc>,
    ) -> String {
        let id = random::opaque(43);
        self.sessions.insert(
            id.clone(),
            Session {
                tenant,
                user,
                since,
            },
        );
        id
    }

    pub(crate) fn session(&self, id: &str) -> Option<Session> {
        self.sessions.get(id).copied()
    }

    pub(crate) fn issue_code(&mut self, flow: &Flow, now: DateTime<Utc>) -> String {
        self.codes.retain(|_, code| now < code.issued + FORGOTTEN);
        let (tenant, user) = flow.user.unwrap_or_default();
        let id = format!("1.{}", random::opaque(160));
        self.codes.insert(
            id.clone(),
            Code {
                client_id: flow.client_id,
                tenant,
                user,
                redirect_uri: flow.redirect_uri.clone(),
                platform: flow.platform,
                scope: flow.scope.clone(),
                nonce: flow.nonce.clone(),
                challenge: flow.challenge.clone(),
                issued: now,
                redeemed: false,
            },
        );
        id
    }

    fn issue_refresh_token(&mut self, refresh: Refresh) -> String {
        let now = refresh.issued;
        self.refresh_tokens
            .retain(|_, it| now < it.expires + FORGOTTEN);
        let id = format!("1.{}", random::opaque(160));
        self.refresh_tokens.insert(id.clone(), refresh);
        id
    }
}

/// Redeems an authorization code.
pub(crate) fn redeem_code(world: &mut World, exchange: &Exchange<'_>) -> Result<Issue, Refusal> {
    let text = exchange.required("code")?;
    let code = world.grants.codes.get(text).cloned();
    let tenant = place(world, exchange, code.as_ref().map(|code| code.tenant))?;
    let client = client::identify(world, tenant, exchange)?;
    let proof = prove(
        world,
        exchange,
        &client,
        code.as_ref().map(|code| code.platform),
    )?;
    let code = code.ok_or_else(Refusal::malformed_grant)?;
    check_code(exchange, &client, tenant, &code)?;
    check_verifier(exchange, &code)?;
    let asked = exchange.form.get("scope").unwrap_or(&code.scope).to_owned();
    let user = Subject {
        client_id: code.client_id,
        tenant: code.tenant,
        user: code.user,
        platform: code.platform,
        original: code.scope.clone(),
        expires: None,
    };
    let issue = issue(
        world,
        exchange,
        &client,
        &proof,
        &user,
        &asked,
        code.nonce.as_deref(),
    )?;
    if let Some(code) = world.grants.codes.get_mut(text) {
        code.redeemed = true;
    }
    note(world, exchange, &proof, &user, &issue, "authorization_code");
    Ok(issue)
}

/// Redeems a refresh token. It stays good; the new one is for a client that wants the longer life.
pub(crate) fn redeem_refresh_token(
    world: &mut World,
    exchange: &Exchange<'_>,
) -> Result<Issue, Refusal> {
    let text = exchange.required("refresh_token")?;
    let refresh = world.grants.refresh_tokens.get(text).cloned();
    let tenant = place(world, exchange, refresh.as_ref().map(|it| it.tenant))?;
    let client = client::identify(world, tenant, exchange)?;
    let proof = prove(
        world,
        exchange,
        &client,
        refresh.as_ref().map(|it| it.platform),
    )?;
    let refresh = refresh
        .filter(|it| it.client_id == client.client_id)
        .ok_or_else(|| Refusal::invalid_grant(70_000, "Provided grant is invalid or malformed."))?;
    check_refresh(world, exchange, &refresh)?;
    let asked = exchange
        .form
        .get("scope")
        .unwrap_or(&refresh.scope)
        .to_owned();
    let user = Subject {
        client_id: refresh.client_id,
        tenant: refresh.tenant,
        user: refresh.user,
        platform: refresh.platform,
        original: refresh.scope.clone(),
        // A single-page application's tokens end a day after the sign-in, however often they are used.
        expires: (refresh.platform == Platform::Spa).then_some(refresh.expires),
    };
    let issue = issue(world, exchange, &client, &proof, &user, &asked, None)?;
    note(world, exchange, &proof, &user, &issue, "refresh_token");
    Ok(issue)
}

/// For whom, and for which application, tokens are issued.
struct Subject {
    client_id: Uuid,
    tenant: Uuid,
    user: Uuid,
    platform: Platform,
    /// The scopes of the sign-in.
    original: String,
    expires: Option<DateTime<Utc>>,
}

/// Returns the tenant of an exchange. On `/common` it is the grant's, or failing that the application's home.
fn place<'w>(
    world: &'w World,
    exchange: &Exchange<'_>,
    granted: Option<Uuid>,
) -> Result<&'w Tenant, Refusal> {
    if !is_shared(exchange.tenant) {
        return exchange.tenant(world);
    }
    let home = || {
        let id = client::named(exchange.call, exchange.form)?;
        Some(world.directory.application(id)?.0)
    };
    granted
        .and_then(|id| world.directory.tenants.get(&id))
        .or_else(home)
        .ok_or_else(|| {
            let id = exchange.form.get("client_id").unwrap_or_default();
            Refusal::application_not_found(id, exchange.tenant)
        })
}

/// Checks the client's credential as the platform of the redirect URI demands it.
fn prove(
    world: &World,
    exchange: &Exchange<'_>,
    client: &Client,
    platform: Option<Platform>,
) -> Result<Proof, Refusal> {
    let proof = client::prove(world, exchange, client)?;
    let cross_origin = exchange.call.header("origin").is_some();
    match platform.unwrap_or(Platform::Web) {
        Platform::Web if cross_origin => Err(Refusal::invalid_request(
            9_002_326,
            "Cross-origin token redemption is permitted only for the 'Single-Page Application' client-type.",
        )),
        Platform::Spa if !cross_origin => Err(Refusal::invalid_request(
            9_002_327,
            "Tokens issued for the 'Single-Page Application' client-type may only be redeemed via \
             cross-origin requests.",
        )),
        Platform::Web if proof.is_none() => Err(Refusal::invalid_client(
            7_000_218,
            "The request body must contain the following parameter: 'client_assertion' or 'client_secret'.",
        )),
        Platform::Public | Platform::Spa if !proof.is_none() => Err(Refusal::invalid_client(
            700_025,
            "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
        )),
        _ => Ok(proof),
    }
}

fn check_code(
    exchange: &Exchange<'_>,
    client: &Client,
    tenant: &Tenant,
    code: &Code,
) -> Result<(), Refusal> {
    if code.client_id != client.client_id {
        return Err(Refusal::invalid_grant(
            70_000,
            "Provided grant is invalid or malformed.",
        ));
    }
    if code.tenant != tenant.id {
        return Err(Refusal::invalid_grant(
            700_005,
            "Provided Authorization Code is intended to use against other tenant, thus rejected.",
        ));
    }
    if code.redeemed {
        return Err(Refusal::invalid_grant(
            54_005,
            "OAuth2 Authorization code was already redeemed, please retry with a new valid code or use an \
             existing refresh token.",
        ));
    }
    if exchange.seen.now >= code.issued + CODE_LIFETIME {
        return Err(Refusal::invalid_grant(
            70_008,
            "The provided authorization code or refresh token has expired due to inactivity. Send a new \
             interactive authorization request for this user and resource.",
        ));
    }
    let redirect_uri = exchange.required("redirect_uri")?;
    if redirect_uri != code.redirect_uri {
        return Err(Refusal::invalid_client(
            500_112,
            format!(
                "The reply address '{redirect_uri}' does not match the reply address '{}' provided when \
                 requesting Authorization code.",
                code.redirect_uri
            ),
        ));
    }
    Ok(())
}

fn check_verifier(exchange: &Exchange<'_>, code: &Code) -> Result<(), Refusal> {
    match (&code.challenge, exchange.form.get("code_verifier")) {
        (None, _) => Ok(()),
        (Some(_), None) => Err(Refusal::invalid_grant(
            50_148,
            "The code_verifier does not match the code_challenge supplied in the authorization request for \
             PKCE.",
        )),
        (Some(challenge), Some(verifier)) => {
            let shown = if challenge.hashed {
                encode(digest(&SHA256, verifier.as_bytes()))
            } else {
                verifier.to_owned()
            };
            if shown == challenge.value {
                return Ok(());
            }
            Err(Refusal::invalid_grant(
                501_481,
                "The Code_Verifier does not match the code_challenge supplied in the authorization request.",
            ))
        }
    }
}

fn check_refresh(world: &World, exchange: &Exchange<'_>, refresh: &Refresh) -> Result<(), Refusal> {
    let now = exchange.seen.now;
    let user = world
        .directory
        .tenants
        .get(&refresh.tenant)
        .and_then(|tenant| tenant.users.get(&refresh.user))
        .ok_or_else(|| {
            Refusal::invalid_grant(50_034, "The user account does not exist in the tenant.")
        })?;
    if refresh.issued < user.valid_from {
        return Err(Refusal::invalid_grant(
            50_173,
            format!(
                "The provided grant has expired due to it being revoked, a fresh auth token is needed. The \
                 user might have changed or reset their password. The grant was issued on '{}' and the \
                 TokensValidFrom date (before which tokens are not valid) for this user is '{}'.",
                refresh.issued.format("%Y-%m-%dT%H:%M:%S%.7fZ"),
                user.valid_from.format("%Y-%m-%dT%H:%M:%S%.7fZ")
            ),
        )
        .with_suberror("bad_token"));
    }
    if now < refresh.expires {
        return Ok(());
    }
    Err(if refresh.platform == Platform::Spa {
        Refusal::invalid_grant(
            700_084,
            "The refresh token was issued to a single page app (SPA), and therefore has a fixed, limited \
             lifetime of 1.00:00:00, which can't be extended. It is now expired and a new sign in request \
             must be sent by the SPA to the sign in page.",
        )
    } else {
        Refusal::invalid_grant(
            700_082,
            format!(
                "The refresh token has expired due to inactivity. The token was issued on {} and was inactive \
                 for 90.00:00:00.",
                refresh.issued.format("%Y-%m-%dT%H:%M:%S%.7fZ")
            ),
        )
    })
}

/// Decides on the tokens for a user.
fn issue(
    world: &mut World,
    exchange: &Exchange<'_>,
    client: &Client,
    proof: &Proof,
    subject: &Subject,
    asked: &str,
    nonce: Option<&str>,
) -> Result<Issue, Refusal> {
    let tenant = world
        .directory
        .tenants
        .get(&subject.tenant)
        .ok_or_else(Refusal::malformed_grant)?;
    let user: &User = tenant
        .users
        .get(&subject.user)
        .ok_or_else(Refusal::malformed_grant)?;
    let application = world
        .directory
        .application(client.client_id)
        .map(|(_, it)| it);
    let place = exchange.place();
    let scopes = Scopes::read(world, tenant, &place, application, asked)?;
    let principal = tenant.by_app_id(Kind::ServicePrincipal, client.client_id);
    let granted = principal.map_or_else(Vec::new, |principal| {
        tenant.consented(principal.id, scopes.resource.principal, user.id)
    });
    if let Some(name) = scopes.all().iter().find(|name| !granted.contains(name)) {
        return Err(not_consented(client, name));
    }
    let lifetime = exchange.lifetime(world, &scopes.resource);
    // A refresh asks for a part; what the sign-in was granted decides on the rest.
    let original =
        |name| scopes.asks_for(name) || subject.original.split_whitespace().any(|it| it == name);
    let (offline, openid) = (original("offline_access"), original("openid"));
    let mut issue = UserTokens {
        tenant,
        client,
        proof,
        user,
        scopes: &scopes,
        granted: &granted,
    }
    .issue(exchange, lifetime, openid, nonce);
    if offline {
        let now = exchange.seen.now;
        let lifetime = if subject.platform == Platform::Spa {
            SPA_LIFETIME
        } else {
            REFRESH_LIFETIME
        };
        let refresh = Refresh {
            client_id: subject.client_id,
            tenant: subject.tenant,
            user: subject.user,
            platform: subject.platform,
            scope: subject.original.clone(),
            issued: now,
            expires: subject.expires.unwrap_or(now + lifetime),
        };
        issue.refresh_token = Some(world.grants.issue_refresh_token(refresh));
    }
    Ok(issue)
}

fn not_consented(client: &Client, scope: &str) -> Refusal {
    Refusal::invalid_grant(
        65_001,
        format!(
            "The user or administrator has not consented to use the application with ID '{}' named '{}' for \
             '{scope}'. Send an interactive authorization request for this user and resource.",
            client.client_id, client.name
        ),
    )
    .with_suberror("consent_required")
}

fn note(
    world: &mut World,
    exchange: &Exchange<'_>,
    proof: &Proof,
    subject: &Subject,
    issue: &Issue,
    grant: &str,
) {
    let effect = Effect::TokenIssued {
        client_id: subject.client_id.to_string(),
        grant: grant.to_owned(),
        credential: proof.key_id().map(|id| id.to_string()),
        user: Some(user_name(world, subject.tenant, subject.user)),
        expires: issue.expires(),
    };
    exchange.service.note(world, Some(exchange.number), effect);
}

/// How long a code is good, and a page waits.
const CODE_LIFETIME: TimeDelta = TimeDelta::minutes(10);
const REFRESH_LIFETIME: TimeDelta = TimeDelta::days(90);
const SPA_LIFETIME: TimeDelta = TimeDelta::days(1);
/// Until then an expired grant is told from one that never was.
const FORGOTTEN: TimeDelta = TimeDelta::days(30);
