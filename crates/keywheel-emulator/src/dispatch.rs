use http::StatusCode;
use http::header::DATE;

use crate::call::{Call, Ids, Reply, Surface};
use crate::fault::{Aim, Fault};
use crate::graph::{self, GraphError, Operation};
use crate::identity::{self, Refusal};
use crate::jwt::Jwt;
use crate::log::{RequestRecord, body_of, query_of};
use crate::world::Service;
use crate::{Action, Route, admin};

/// A request that has found where it belongs.
#[derive(Debug)]
pub(crate) struct Asked {
    call: Call,
    destination: Destination,
    number: u64,
    ids: Ids,
}

#[derive(Debug)]
enum Destination {
    Admin,
    Graph(Operation),
    Login(Route, String),
}

impl Asked {
    pub(crate) fn new(service: &Service, call: Call) -> Self {
        let destination = Destination::of(&call);
        let number = match destination {
            Destination::Admin => 0,
            _ => service.world().log.next_request(),
        };
        Self {
            ids: Ids::of(&call),
            call,
            destination,
            number,
        }
    }

    pub(crate) fn route(&self) -> Route {
        match &self.destination {
            Destination::Admin => Route::Admin,
            Destination::Graph(operation) => operation.route,
            Destination::Login(route, _) => *route,
        }
    }

    /// Returns the fault that strikes this request.
    pub(crate) fn fault(&self, service: &Service) -> Option<Fault> {
        let world = &mut *service.world();
        if self.route() == Route::Admin || world.faults.list().is_empty() {
            return None;
        }
        let client_id = self.claimed_client();
        let aim = Aim {
            route: Some(self.route()),
            client_id: client_id.as_deref(),
            path: &self.call.path,
        };
        world.faults.strike(&aim, &mut world.draws)
    }

    /// Carries the request out.
    pub(crate) fn answer(&self, service: &Service) -> Reply {
        let mut reply = match &self.destination {
            Destination::Admin => admin::answer(service, &self.call),
            Destination::Graph(operation) => {
                graph::answer(service, &self.call, operation, self.number, self.ids)
            }
            Destination::Login(route, tenant) => {
                identity::answer(service, &self.call, *route, tenant, self.number, self.ids)
            }
        };
        self.finish(service, &mut reply);
        reply
    }

    /// Answers with what a fault says instead of what the service would.
    pub(crate) fn respond(&self, service: &Service, action: &Action) -> Option<Reply> {
        let Action::Respond {
            status,
            headers,
            body,
        } = action
        else {
            return None;
        };
        let mut reply = self.customary(service, *status);
        if let Some(body) = body {
            reply.body = body.clone().into();
        }
        for (name, value) in headers {
            if let Ok(name) = name.parse() {
                reply.set(name, value);
            }
        }
        self.finish(service, &mut reply);
        Some(reply)
    }

    /// Refuses a body that is larger than any that makes sense.
    pub(crate) fn too_large(&self, service: &Service) -> Reply {
        self.customary(service, 413)
    }

    /// Writes the request into the log.
    pub(crate) fn record(&self, service: &Service, reply: Option<&Reply>, fault: Option<&Fault>) {
        if self.route() == Route::Admin {
            return;
        }
        let client_id = reply
            .and_then(|reply| reply.note.client_id.map(|id| id.to_string()))
            .or_else(|| self.claimed_client());
        let record = RequestRecord {
            number: self.number,
            at: service.clock.now(),
            route: self.route(),
            method: self.call.method.to_string(),
            path: self.call.path.clone(),
            query: query_of(&self.call),
            body: body_of(&self.call),
            client_id,
            status: reply.map_or(0, |reply| reply.status.as_u16()),
            code: reply.and_then(|reply| reply.note.code.clone()),
            request_id: self.ids.request.to_string(),
            fault: fault.map(|fault| format!("{:?}", fault.action)),
        };
        service.world().log.request(record);
    }

    /// Returns the client id that the request claims, unverified: faults aim by it.
    fn claimed_client(&self) -> Option<String> {
        let call = &self.call;
        let named = call.form.get("client_id");
        let named = named.or_else(|| call.query.get("client_id"));
        if let Some(id) = named {
            return Some(id.to_owned());
        }
        let token = call.header("authorization")?.split_once(' ')?.1;
        Some(Jwt::parse(token)?.claim("appid")?.to_owned())
    }

    fn customary(&self, service: &Service, status: u16) -> Reply {
        let now = service.clock.now();
        let behaviours = service.world().behaviours.clone();
        let mut reply = match &self.destination {
            Destination::Login(Route::Token, _) if status == 429 => {
                identity::too_many_requests(None)
            }
            Destination::Login(..) => {
                Refusal::of_status(status).reply(self.ids, now, &behaviours, &self.call.origin)
            }
            _ => GraphError::of_status(status).reply(self.ids, now, &behaviours),
        };
        reply.status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        reply
    }

    fn finish(&self, service: &Service, reply: &mut Reply) {
        let trace = self.ids.request.to_string();
        let now = service.clock.now().format("%a, %d %b %Y %H:%M:%S GMT");
        reply.set(DATE, &now.to_string());
        match self.destination {
            Destination::Login(..) => identity::login_headers(reply, &trace),
            Destination::Graph(_) => graph::graph_headers(reply, self.ids),
            Destination::Admin => {}
        }
    }
}

impl Destination {
    fn of(call: &Call) -> Self {
        let first = call.segments.first().map_or("", String::as_str);
        let second = call.segments.get(1).map_or("", String::as_str);
        if first == "_emulator" {
            return Self::Admin;
        }
        let graph = match call.surface {
            Surface::Both => {
                matches!(first, "v1.0" | "beta" | "oidc") || (first == "graph" && second == "v1.0")
            }
            Surface::Graph => true,
            Surface::Login => false,
        };
        if graph {
            return Self::Graph(graph::route(call));
        }
        let (route, tenant) = identity::route(call);
        Self::Login(route, tenant.to_owned())
    }
}
