mod credential;
mod object;
mod permission;
mod policy;
mod schema;
mod user;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub(crate) use self::credential::{Federated, History, Key, Password};
pub(crate) use self::object::{Kind, Object};
pub(crate) use self::permission::{ENTRIES, GRAPH_APP_ID, graph_roles, graph_scopes};
pub(crate) use self::policy::{Policies, Policy, Restriction, duration};
pub(crate) use self::schema::{Shape, property};
pub(crate) use self::user::User;

/// Everything the directory holds, of all tenants.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Directory {
    pub(crate) tenants: BTreeMap<Uuid, Tenant>,
}

/// One tenant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Tenant {
    pub(crate) id: Uuid,
    pub(crate) display_name: String,
    /// Verified domains; the first is the default one.
    pub(crate) domains: Vec<String>,
    pub(crate) created: DateTime<Utc>,
    /// Applications and service principals, by object id.
    pub(crate) objects: BTreeMap<Uuid, Object>,
    pub(crate) users: BTreeMap<Uuid, User>,
    pub(crate) assignments: BTreeMap<Uuid, Assignment>,
    pub(crate) consents: Vec<Consent>,
    pub(crate) policies: Policies,
}

/// An app role that a service principal was granted on a resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Assignment {
    pub(crate) id: Uuid,
    pub(crate) role: Uuid,
    pub(crate) principal: Uuid,
    pub(crate) resource: Uuid,
    pub(crate) created: DateTime<Utc>,
}

/// Delegated scopes that a user, or an administrator for all, has consented to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Consent {
    /// The service principal of the client.
    pub(crate) client: Uuid,
    /// The service principal of the resource.
    pub(crate) resource: Uuid,
    /// One user, or everyone.
    pub(crate) user: Option<Uuid>,
    pub(crate) scopes: Vec<String>,
}

impl Directory {
    /// Finds a tenant by id or by a verified domain.
    pub(crate) fn tenant(&self, name: &str) -> Option<&Tenant> {
        match Uuid::try_parse(name) {
            Ok(id) => self.tenants.get(&id),
            Err(_) => self.tenants.values().find(|tenant| tenant.has_domain(name)),
        }
    }

    /// Finds the application object of a client id, in whichever tenant is its home.
    pub(crate) fn application(&self, client_id: Uuid) -> Option<(&Tenant, &Object)> {
        self.tenants.values().find_map(|tenant| {
            let object = tenant.by_app_id(Kind::Application, client_id)?;
            Some((tenant, object))
        })
    }

    pub(crate) fn application_mut(&mut self, client_id: Uuid) -> Option<&mut Object> {
        self.tenants.values_mut().find_map(|tenant| {
            let id = tenant.by_app_id(Kind::Application, client_id)?.id;
            tenant.objects.get_mut(&id)
        })
    }

    /// Finds a user by user principal name, in whichever tenant.
    pub(crate) fn user(&self, name: &str) -> Option<(&Tenant, &User)> {
        self.tenants
            .values()
            .find_map(|tenant| Some((tenant, tenant.user(name)?)))
    }
}

impl Tenant {
    pub(crate) fn has_domain(&self, name: &str) -> bool {
        self.domains
            .iter()
            .any(|domain| domain.eq_ignore_ascii_case(name))
    }

    pub(crate) fn default_domain(&self) -> &str {
        self.domains.first().map_or("", String::as_str)
    }

    pub(crate) fn by_app_id(&self, kind: Kind, app_id: Uuid) -> Option<&Object> {
        self.objects
            .values()
            .find(|object| object.kind == kind && object.app_id == app_id)
    }

    pub(crate) fn object(&self, kind: Kind, id: Uuid) -> Option<&Object> {
        self.objects.get(&id).filter(|object| object.kind == kind)
    }

    pub(crate) fn of_kind(&self, kind: Kind) -> impl Iterator<Item = &Object> {
        self.objects
            .values()
            .filter(move |object| object.kind == kind)
    }

    pub(crate) fn user(&self, name: &str) -> Option<&User> {
        self.users
            .values()
            .find(|user| user.name.eq_ignore_ascii_case(name))
    }

    /// Returns the scopes of `resource` that `client` may use for `user`.
    pub(crate) fn consented(&self, client: Uuid, resource: Uuid, user: Uuid) -> Vec<&str> {
        self.consents
            .iter()
            .filter(|consent| consent.client == client && consent.resource == resource)
            .filter(|consent| consent.user.is_none_or(|one| one == user))
            .flat_map(|consent| consent.scopes.iter().map(String::as_str))
            .collect()
    }

    /// Notes a consent, joining it with what was consented to before.
    pub(crate) fn consent(&mut self, consent: Consent) {
        let known = self.consents.iter_mut().find(|known| {
            known.client == consent.client
                && known.resource == consent.resource
                && known.user == consent.user
        });
        match known {
            Some(known) => {
                for scope in consent.scopes {
                    if !known.scopes.contains(&scope) {
                        known.scopes.push(scope);
                    }
                }
            }
            None => self.consents.push(consent),
        }
    }
}
