use chrono::{DateTime, Utc};
use serde_json::Value;
use uuid::Uuid;

use crate::certificate::Certificate;
use crate::directory::{
    Assignment, GRAPH_APP_ID, History, Key, Kind, Object, Password, Shape, Tenant, property,
};
use crate::emulator::SecretInfo;
use crate::log::Effect;
use crate::seed::default_policy;
use crate::world::{Service, World};
use crate::{AddedSecret, PolicySeed, random};

/// What an administrator does with the directory, past every check of Graph. Errors say what is unknown.
impl Service {
    pub(crate) fn add_secret(
        &self,
        client_id: &str,
        display_name: &str,
        end: DateTime<Utc>,
    ) -> Result<AddedSecret, Unknown> {
        let now = self.clock.now();
        let world = &mut *self.world();
        let object = application(world, client_id)?;
        let password = Password {
            key_id: random::guid(),
            display_name: Some(display_name.to_owned()),
            text: random::client_secret(),
            start: now.min(end),
            end,
            history: History::starting(now),
        };
        let added = AddedSecret {
            key_id: password.key_id.to_string(),
            text: password.text.clone(),
        };
        object.passwords.insert(0, password);
        let effect = Effect::SecretAdded {
            client_id: client_id.to_owned(),
            key_id: added.key_id.clone(),
            display_name: Some(display_name.to_owned()),
            end,
        };
        self.note(world, None, effect);
        Ok(added)
    }

    /// Tells whether the secret was there.
    pub(crate) fn remove_secret(&self, client_id: &str, key_id: &str) -> Result<bool, Unknown> {
        let now = self.clock.now();
        let world = &mut *self.world();
        let found = application(world, client_id)?
            .passwords
            .iter_mut()
            .filter(|it| it.history.present())
            .find(|it| it.key_id.to_string().eq_ignore_ascii_case(key_id));
        let Some(password) = found else {
            return Ok(false);
        };
        password.history.removed = Some(now);
        let effect = Effect::SecretRemoved {
            client_id: client_id.to_owned(),
            key_id: key_id.to_owned(),
        };
        self.note(world, None, effect);
        Ok(true)
    }

    /// Returns the key id of a certificate that is now registered; `None` when it is none.
    pub(crate) fn add_key(&self, client_id: &str, pem: &str) -> Result<Option<String>, Unknown> {
        let now = self.clock.now();
        let world = &mut *self.world();
        let object = application(world, client_id)?;
        let Some(certificate) = Certificate::from_pem(pem) else {
            return Ok(None);
        };
        let key = Key::of(certificate, random::guid(), None, now);
        let key_id = key.key_id.to_string();
        object.keys.insert(0, key);
        let effect = Effect::KeyAdded {
            client_id: client_id.to_owned(),
            key_id: key_id.clone(),
        };
        self.note(world, None, effect);
        Ok(Some(key_id))
    }

    /// Tells whether the certificate was there.
    pub(crate) fn remove_key(&self, client_id: &str, key_id: &str) -> Result<bool, Unknown> {
        let now = self.clock.now();
        let world = &mut *self.world();
        let found = application(world, client_id)?
            .keys
            .iter_mut()
            .filter(|it| it.history.present())
            .find(|it| it.key_id.to_string().eq_ignore_ascii_case(key_id));
        let Some(key) = found else {
            return Ok(false);
        };
        key.history.removed = Some(now);
        let effect = Effect::KeyRemoved {
            client_id: client_id.to_owned(),
            key_id: key_id.to_owned(),
        };
        self.note(world, None, effect);
        Ok(true)
    }

    pub(crate) fn secrets(&self, client_id: &str) -> Vec<SecretInfo> {
        held(&self.world(), client_id, |object| {
            let present = object.passwords.iter().filter(|it| it.history.present());
            present.map(|it| SecretInfo::of(it, object)).collect()
        })
    }

    pub(crate) fn accepts(&self, client_id: &str, text: &str) -> bool {
        let now = self.clock.now();
        let fits = |it: &&Password| {
            it.history.present() && it.start <= now && now < it.end && it.text.expose() == text
        };
        !held(&self.world(), client_id, |object| {
            object
                .passwords
                .iter()
                .filter(fits)
                .map(|it| it.key_id)
                .collect()
        })
        .is_empty()
    }

    /// Grants an application permission of Graph, or takes it back.
    pub(crate) fn set_role(
        &self,
        client_id: &str,
        role: &str,
        granted: bool,
    ) -> Result<(), Unknown> {
        let now = self.clock.now();
        let world = &mut *self.world();
        let tenant = home(world, client_id)?;
        let find = |app_id| {
            tenant
                .by_app_id(Kind::ServicePrincipal, app_id)
                .map(|it| it.id)
        };
        let principal = Uuid::try_parse(client_id).ok().and_then(find);
        let principal = principal.ok_or_else(|| Unknown::application(client_id))?;
        let graph = tenant.by_app_id(Kind::ServicePrincipal, GRAPH_APP_ID);
        let (resource, id) = graph
            .and_then(|graph| Some((graph.id, graph.role_named(role)?)))
            .ok_or_else(|| Unknown(format!("role {role:?}")))?;
        let same =
            |it: &Assignment| it.principal == principal && it.resource == resource && it.role == id;
        let had = tenant.assignments.values().any(same);
        if granted && !had {
            let assignment = Assignment {
                id: random::guid(),
                role: id,
                principal,
                resource,
                created: now,
            };
            tenant.assignments.insert(assignment.id, assignment);
        } else if !granted {
            tenant.assignments.retain(|_, it| !same(it));
        }
        let (principal, role) = (principal.to_string(), role.to_owned());
        self.note(
            world,
            None,
            match granted {
                true => Effect::RoleAssigned { principal, role },
                false => Effect::RoleRemoved { principal, role },
            },
        );
        Ok(())
    }

    /// Makes a user or another application's service principal an owner, or no longer one.
    pub(crate) fn set_owner(
        &self,
        client_id: &str,
        owner: &str,
        owns: bool,
    ) -> Result<(), Unknown> {
        let now = self.clock.now();
        let world = &mut *self.world();
        let tenant = home(world, client_id)?;
        let user = tenant.user(owner).map(|user| user.id);
        let principal = Uuid::try_parse(owner)
            .ok()
            .and_then(|id| tenant.by_app_id(Kind::ServicePrincipal, id))
            .map(|it| it.id);
        let owner = user
            .or(principal)
            .ok_or_else(|| Unknown(format!("owner {owner:?}")))?;
        let object = application(world, client_id)?;
        if owns {
            object.owners.insert(owner, History::starting(now));
        } else if let Some(history) = object.owners.get_mut(&owner) {
            history.removed = Some(now);
        }
        let (object_id, owner) = (object.id.to_string(), owner.to_string());
        self.note(
            world,
            None,
            match owns {
                true => Effect::OwnerAdded { object_id, owner },
                false => Effect::OwnerRemoved { object_id, owner },
            },
        );
        Ok(())
    }

    /// Sets a property of an application, as Graph names it.
    pub(crate) fn set_property(
        &self,
        client_id: &str,
        name: &str,
        value: Value,
    ) -> Result<(), Unknown> {
        let world = &mut *self.world();
        let object = application(world, client_id)?;
        match property(Kind::Application, name) {
            Some(shape) if shape != Shape::ReadOnly && shape.admits(&value) => {
                object.set(name, value);
                Ok(())
            }
            _ => Err(Unknown(format!("property {name:?} with such a value"))),
        }
    }

    /// Replaces the default app-management policy of a tenant (id or domain).
    pub(crate) fn set_policy(&self, tenant: &str, policy: &PolicySeed) -> Result<(), Unknown> {
        let world = &mut *self.world();
        let unknown = || Unknown(format!("tenant {tenant:?}"));
        let id = world.directory.tenant(tenant).ok_or_else(unknown)?.id;
        let made = default_policy(policy, id).map_err(|error| Unknown(error.to_string()))?;
        let tenant = world.directory.tenants.get_mut(&id).ok_or_else(unknown)?;
        tenant.policies.default = made;
        Ok(())
    }

    /// Revokes all of a user's sign-ins and refresh tokens.
    pub(crate) fn revoke_sessions(&self, user: &str) -> Result<(), Unknown> {
        let now = self.clock.now();
        let world = &mut *self.world();
        let found = world
            .directory
            .tenants
            .values_mut()
            .flat_map(|tenant| tenant.users.values_mut())
            .find(|it| it.name.eq_ignore_ascii_case(user))
            .ok_or_else(|| Unknown(format!("user {user:?}")))?;
        found.valid_from = now;
        let user = found.name.clone();
        self.note(world, None, Effect::SessionsRevoked { user });
        Ok(())
    }
}

fn application<'w>(world: &'w mut World, client_id: &str) -> Result<&'w mut Object, Unknown> {
    Uuid::try_parse(client_id)
        .ok()
        .and_then(|id| world.directory.application_mut(id))
        .ok_or_else(|| Unknown::application(client_id))
}

fn home<'w>(world: &'w mut World, client_id: &str) -> Result<&'w mut Tenant, Unknown> {
    let id = Uuid::try_parse(client_id).ok();
    let tenant = id.and_then(|id| Some(world.directory.application(id)?.0.id));
    tenant
        .and_then(|tenant| world.directory.tenants.get_mut(&tenant))
        .ok_or_else(|| Unknown::application(client_id))
}

/// Gathers something from the application and its service principals.
pub(crate) fn held<T>(world: &World, client_id: &str, of: impl Fn(&Object) -> Vec<T>) -> Vec<T> {
    let Ok(id) = Uuid::try_parse(client_id) else {
        return Vec::new();
    };
    let tenants = world.directory.tenants.values();
    tenants
        .flat_map(|tenant| tenant.objects.values())
        .filter(|object| object.app_id == id)
        .flat_map(of)
        .collect()
}

/// What a call on the emulator names does not exist.
#[derive(Clone, Debug, thiserror::Error)]
#[error("the emulator has no {0}: check what the seed names")]
pub struct Unknown(String);

impl Unknown {
    fn application(client_id: &str) -> Self {
        Self(format!("application with the client id {client_id:?}"))
    }
}
