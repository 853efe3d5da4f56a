use aws_lc_rs::digest::{SHA256, digest};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Client, Proof};
use super::resource::Resource;
use super::scope::Scopes;
use super::token::Exchange;
use crate::directory::{Tenant, User};
use crate::jwt::encode;
use crate::random;

/// What will be signed, decided but not signed yet.
#[derive(Debug)]
pub(crate) struct Issue {
    pub(crate) claims: Claims,
    pub(crate) scope: Option<String>,
    pub(crate) refresh_token: Option<String>,
    pub(crate) id_token: Option<Value>,
    pub(crate) client_info: Option<String>,
    now: DateTime<Utc>,
    lifetime: TimeDelta,
}

impl Issue {
    /// Completes the claims with the times. Tokens are dated five minutes back, so that a resource whose
    /// clock is slow takes them.
    pub(crate) fn of(exchange: &Exchange<'_>, mut claims: Claims, lifetime: TimeDelta) -> Self {
        let now = exchange.seen.now;
        claims.json["iat"] = json!(now.timestamp() - 300);
        claims.json["nbf"] = json!(now.timestamp() - 300);
        claims.json["exp"] = json!(now.timestamp() + lifetime.num_seconds());
        Self {
            claims,
            scope: None,
            refresh_token: None,
            id_token: None,
            client_info: None,
            now,
            lifetime,
        }
    }

    pub(crate) fn expires(&self) -> DateTime<Utc> {
        crate::clock::add(self.now, self.lifetime)
    }

    /// The service counts a second less than the token says.
    pub(crate) fn expires_in(&self) -> i64 {
        (self.lifetime.num_seconds() - 1).max(0)
    }
}

/// The tokens of a signed-in user.
pub(crate) struct UserTokens<'a> {
    pub(crate) tenant: &'a Tenant,
    pub(crate) client: &'a Client,
    pub(crate) proof: &'a Proof,
    pub(crate) user: &'a User,
    pub(crate) scopes: &'a Scopes,
    /// All that was consented to of the resource, which may be more than is asked for.
    pub(crate) granted: &'a [&'a str],
}

impl UserTokens<'_> {
    pub(crate) fn issue(
        &self,
        exchange: &Exchange<'_>,
        lifetime: TimeDelta,
        openid: bool,
        nonce: Option<&str>,
    ) -> Issue {
        let mut issue = Issue::of(exchange, self.access_claims(), lifetime);
        issue.scope = Some(self.scopes.shown(self.granted));
        if openid {
            issue.id_token = Some(self.id_claims(exchange, nonce));
        }
        if exchange.form.get("client_info") == Some("1") {
            let info = json!({ "uid": self.user.id, "utid": self.tenant.id });
            issue.client_info = Some(encode(info.to_string()));
        }
        issue
    }

    fn access_claims(&self) -> Claims {
        let mut claims =
            Claims::common(self.tenant, self.client, *self.proof, &self.scopes.resource);
        let granted = self
            .granted
            .iter()
            .filter(|it| **it != "offline_access")
            .copied();
        let json = &mut claims.json;
        json["acct"] = json!(0);
        json["acr"] = json!("1");
        json["amr"] = json!(["pwd"]);
        json["name"] = json!(self.user.display_name);
        json["oid"] = json!(self.user.id);
        json["scp"] = json!(granted.collect::<Vec<_>>().join(" "));
        json["sub"] = json!(self.pairwise(&self.scopes.resource.app_id.to_string()));
        if claims.version_1 {
            claims.json["idtyp"] = json!("user");
            claims.json["unique_name"] = json!(self.user.name);
            claims.json["upn"] = json!(self.user.name);
            claims.json["wids"] = json!(self.user.role_ids());
        } else {
            claims.json["preferred_username"] = json!(self.user.name);
        }
        claims
    }

    fn id_claims(&self, exchange: &Exchange<'_>, nonce: Option<&str>) -> Value {
        let now = exchange.seen.now.timestamp();
        let mut claims = json!({
            "aud": self.client.client_id, "exp": now + 3600, "iat": now - 300, "nbf": now - 300,
            "iss": format!("{}/{}/v2.0", exchange.call.origin, self.tenant.id),
            "name": self.user.display_name, "oid": self.user.id,
            "preferred_username": self.user.name, "rh": format!("1.{}.", random::opaque(44)),
            "sub": self.pairwise(&self.client.client_id.to_string()), "tid": self.tenant.id,
            "uti": random::opaque(22), "ver": "2.0",
        });
        if let Some(nonce) = nonce {
            claims["nonce"] = json!(nonce);
        }
        if self.scopes.asks_for("email") {
            claims["email"] = json!(self.user.name);
        }
        claims
    }

    /// Returns a subject that only one application knows the user by.
    fn pairwise(&self, application: &str) -> String {
        pairwise(self.user.id, application)
    }
}

/// Returns the subject by which one application, and no other, knows a user.
pub(crate) fn pairwise(user: Uuid, application: &str) -> String {
    encode(digest(&SHA256, format!("{user}{application}").as_bytes()))
}

/// The claims of an access token, all but the times.
#[derive(Clone, Debug)]
pub(crate) struct Claims {
    pub(crate) json: Value,
    /// Tokens of version 1 name their key twice, by `kid` and `x5t`. Those for Graph are of version 1,
    /// whichever endpoint issues them.
    pub(crate) version_1: bool,
}

impl Claims {
    /// Returns the claims of an application's own token.
    pub(crate) fn application(
        tenant: &Tenant,
        client: &Client,
        principal: Uuid,
        proof: Proof,
        resource: &Resource,
        roles: &[String],
    ) -> Self {
        let mut claims = Self::common(tenant, client, proof, resource);
        claims.json["oid"] = json!(principal);
        claims.json["sub"] = json!(principal);
        if claims.version_1 {
            claims.json["idtyp"] = json!("app");
        }
        if !roles.is_empty() {
            claims.json["roles"] = json!(roles);
        }
        claims
    }

    /// Returns what tokens of applications and of users have in common.
    pub(crate) fn common(
        tenant: &Tenant,
        client: &Client,
        proof: Proof,
        resource: &Resource,
    ) -> Self {
        let (tid, uti) = (tenant.id, random::opaque(22));
        let json = if resource.version_2 {
            json!({
                "aud": resource.audience, "iss": format!("https://login.microsoftonline.com/{tid}/v2.0"),
                "aio": random::opaque(48), "azp": client.client_id, "azpacr": proof.context(),
                "rh": format!("1.{}.", random::opaque(44)), "tid": tid, "uti": uti, "ver": "2.0",
                "xms_ftd": random::opaque(43),
            })
        } else {
            json!({
                "aud": resource.audience, "iss": format!("https://sts.windows.net/{tid}/"),
                "aio": random::opaque(48), "app_displayname": client.name, "appid": client.client_id,
                "appidacr": proof.context(), "idp": format!("https://sts.windows.net/{tid}/"),
                "rh": format!("1.{}.", random::opaque(44)), "tenant_region_scope": "EU", "tid": tid,
                "uti": uti, "ver": "1.0", "wids": ["0997a1d0-0d1d-4acb-b408-d5ca73121e90"],
                "xms_ftd": random::opaque(43), "xms_idrel": "7 24",
                "xms_tcdt": tenant.created.timestamp(),
            })
        };
        Self {
            json,
            version_1: !resource.version_2,
        }
    }
}
