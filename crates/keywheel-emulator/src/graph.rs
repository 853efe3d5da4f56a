mod batch;
mod body;
mod caller;
mod error;
mod federated;
mod filter;
mod key;
mod list;
mod object;
mod owner;
mod password;
mod path;
mod permission;
mod render;
mod role;
mod tenant;

use chrono::{DateTime, Utc};

pub(crate) use self::caller::Caller;
pub(crate) use self::error::{GraphError, graph_headers};
pub(crate) use self::path::{Operation, route};
use crate::Route;
use crate::behaviour::Seen;
use crate::call::{Call, Ids, Reply};
use crate::directory::{Kind, Object, Tenant};
use crate::log::Effect;
use crate::world::{Service, World};

/// One request to Graph whose caller is known.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) service: &'a Service,
    pub(crate) call: &'a Call,
    pub(crate) operation: &'a Operation,
    pub(crate) caller: &'a Caller,
    pub(crate) seen: Seen,
    /// The request's number in the log.
    pub(crate) number: u64,
}

/// Answers a request to Graph.
pub(crate) fn answer(
    service: &Service,
    call: &Call,
    operation: &Operation,
    number: u64,
    ids: Ids,
) -> Reply {
    let now = service.clock.now();
    let outcome = caller::identify(service, call, now).and_then(|caller| {
        let seen = admit(service, now)?;
        let request = Request {
            service,
            call,
            operation,
            caller: &caller,
            seen,
            number,
        };
        let reply = request.run();
        Ok(reply
            .unwrap_or_else(|error| error.reply(ids, now, &service.world().behaviours))
            .of_client(caller.client_id))
    });
    let mut reply = outcome
        .unwrap_or_else(|error: GraphError| error.reply(ids, now, &service.world().behaviours));
    graph_headers(&mut reply, ids);
    reply
}

/// Counts the request against the limit and draws who answers.
fn admit(service: &Service, now: DateTime<Utc>) -> Result<Seen, GraphError> {
    let world = &mut *service.world();
    if let Some(limit) = world.behaviours.graph_throttle.clone()
        && world.throttles.graph.exceeds(&limit, now)
    {
        return Err(GraphError::too_many_requests(limit.retry_after));
    }
    Ok(world.seen(now))
}

impl Request<'_> {
    fn run(&self) -> Result<Reply, GraphError> {
        if self.operation.wrong_method {
            return Err(GraphError::method_not_allowed());
        }
        match self.operation.route {
            Route::AddKey => key::add(self),
            Route::AddOwner => owner::add(self),
            Route::AddPassword => password::add(self),
            Route::AssignRole => role::assign(self),
            Route::Batch => batch::run(self),
            Route::Count => list::count(self),
            Route::Create => object::create(self),
            Route::CreateFederated => federated::create(self),
            Route::Delete => object::delete(self),
            Route::DeleteFederated => federated::delete(self),
            Route::Get => object::get(self),
            Route::GetFederated => federated::get(self),
            Route::List => list::list(self),
            Route::ListFederated => federated::list(self),
            Route::ListOwned => owner::owned(self),
            Route::ListOwners => owner::list(self),
            Route::ListRoles => role::list(self),
            Route::Me => tenant::me(self),
            Route::Organization => tenant::organization(self),
            Route::Policy => tenant::policy(self),
            Route::RemoveKey => key::remove(self),
            Route::RemoveOwner => owner::remove(self),
            Route::RemovePassword => password::remove(self),
            Route::UnassignRole => role::unassign(self),
            Route::Update => object::update(self),
            Route::UpdateFederated => federated::update(self),
            Route::UserInfo => tenant::user_info(self),
            _ => Err(GraphError::unserved(self.call)),
        }
    }

    /// Returns the kind of object that the path is about.
    pub(crate) fn kind(&self) -> Kind {
        self.operation.kind.unwrap_or(Kind::Application)
    }

    /// Returns the caller's tenant.
    pub(crate) fn tenant<'w>(&self, world: &'w World) -> Result<&'w Tenant, GraphError> {
        world
            .directory
            .tenants
            .get(&self.caller.tenant)
            .ok_or_else(GraphError::unknown_tenant)
    }

    pub(crate) fn tenant_mut<'w>(
        &self,
        world: &'w mut World,
    ) -> Result<&'w mut Tenant, GraphError> {
        world
            .directory
            .tenants
            .get_mut(&self.caller.tenant)
            .ok_or_else(GraphError::unknown_tenant)
    }

    /// Returns the object that the path names, when the caller may do with it what it asks for.
    pub(crate) fn object<'w>(&self, world: &'w World) -> Result<&'w Object, GraphError> {
        let tenant = self.tenant(world)?;
        permission::check(self, world)?;
        let object = self.operation.find(tenant, &world.behaviours, self.seen)?;
        permission::check_object(self, world, tenant, object)?;
        Ok(object)
    }

    /// Returns the object for a write, after the conflicts that the behaviours ask for.
    pub(crate) fn object_mut<'w>(
        &self,
        world: &'w mut World,
    ) -> Result<&'w mut Object, GraphError> {
        let id = self.object(world)?.id;
        let kept = world.behaviours.longest_memory();
        object::conflict(world, self.caller.tenant, id, self.seen.now)?;
        let object = self.tenant_mut(world)?.objects.get_mut(&id);
        let object = object.ok_or_else(|| GraphError::not_found(&id.to_string()))?;
        object.written = Some(self.seen.now);
        object.forget(self.seen.now - kept);
        Ok(object)
    }

    pub(crate) fn note(&self, world: &mut World, effect: Effect) {
        self.service.note(world, Some(self.number), effect);
    }

    /// Returns `https://host/v1.0` as the client reached it.
    pub(crate) fn base(&self) -> String {
        format!("{}{}/v1.0", self.call.origin, self.operation.prefix)
    }

    /// Returns the context that answers carry.
    pub(crate) fn context(&self, of: &str) -> String {
        format!("{}/$metadata#{of}", self.base())
    }
}
