use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::client::{Client, Proof};
use super::resource::Resource;
use super::token::Exchange;
use crate::directory::Tenant;
use crate::random;
use crate::world::World;

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
        world: &World,
        tenant: &Tenant,
        client: &Client,
        principal: Uuid,
        proof: &Proof,
        resource: &Resource,
        roles: Vec<String>,
    ) -> Self {
        let mut claims = Self::common(world, tenant, client, proof, resource);
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
        _world: &World,
        tenant: &Tenant,
        client: &Client,
        proof: &Proof,
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
