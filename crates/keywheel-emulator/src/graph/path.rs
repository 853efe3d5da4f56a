use http::Method;
use uuid::Uuid;

use super::GraphError;
use crate::Route;
use crate::behaviour::{Behaviours, Event, Seen};
use crate::call::Call;
use crate::directory::{Kind, Object, Tenant};

/// What a request to Graph asks for.
#[derive(Clone, Debug)]
pub(crate) struct Operation {
    pub(crate) route: Route,
    /// The kind of object that the path is about, where it is about one.
    pub(crate) kind: Option<Kind>,
    /// How the path names the object.
    pub(crate) key: Option<Key>,
    /// What the path names inside the object: an owner, an assignment, a federated credential.
    pub(crate) part: Option<Key>,
    /// The last word of the path, where one route has several forms.
    pub(crate) form: Form,
    /// What stands before `/v1.0`.
    pub(crate) prefix: &'static str,
    /// Whether the path is served, but not with this method.
    pub(crate) wrong_method: bool,
}

/// How a path names something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    Id(String),
    /// By an alternate key: its name and value.
    Named(String, String),
}

/// Which form of a route a path has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// `appRoleAssignedTo`: the assignments on a resource.
    AssignedTo,
    Plain,
    /// `/$ref`: links instead of objects.
    Reference,
}

/// Reads what a request asks for.
pub(crate) fn route(call: &Call) -> Operation {
    let all: Vec<&str> = call.segments.iter().map(String::as_str).collect();
    let (prefix, parts) = match all.as_slice() {
        ["graph", "v1.0", rest @ ..] => ("/graph", rest),
        ["v1.0", rest @ ..] => ("", rest),
        ["oidc", "userinfo"] => return plain("", Route::UserInfo),
        _ => return plain("", Route::Unserved),
    };
    // A trailing slash is no part.
    let parts = match parts {
        [rest @ .., ""] => rest,
        all => all,
    };
    match parts {
        [] => plain(prefix, Route::Unserved),
        [first, rest @ ..] => match collection(first) {
            Some((kind, None)) => of_collection(call, prefix, kind, rest),
            Some((kind, Some(key))) => of_object(call, prefix, kind, key, rest),
            None => of_other(call, prefix, first, rest),
        },
    }
}

fn plain(prefix: &'static str, route: Route) -> Operation {
    Operation {
        route,
        kind: None,
        key: None,
        part: None,
        form: Form::Plain,
        prefix,
        wrong_method: false,
    }
}

/// Reads `applications` or `applications(appId='…')`.
fn collection(part: &str) -> Option<(Kind, Option<Key>)> {
    let (name, key) = keyed(part);
    let kind = [Kind::Application, Kind::ServicePrincipal]
        .into_iter()
        .find(|kind| kind.collection().eq_ignore_ascii_case(name))?;
    Some((kind, key))
}

/// Splits `name(key='value')`. A quote inside the value is doubled.
fn keyed(part: &str) -> (&str, Option<Key>) {
    let Some((name, key)) = part.split_once('(').filter(|(_, key)| key.ends_with(')')) else {
        return (part, None);
    };
    let key = &key[..key.len() - 1];
    let unquoted = |text: &str| {
        let inner = text.strip_prefix('\'').and_then(|it| it.strip_suffix('\''));
        inner.unwrap_or(text).replace("''", "'")
    };
    let key = match key.split_once('=') {
        Some((key, value)) => Key::Named(key.trim().to_owned(), unquoted(value.trim())),
        None => Key::Id(unquoted(key.trim())),
    };
    (name, Some(key))
}

fn of_collection(call: &Call, prefix: &'static str, kind: Kind, rest: &[&str]) -> Operation {
    let on = |route, wrong_method| Operation {
        kind: Some(kind),
        wrong_method,
        ..plain(prefix, route)
    };
    match rest {
        [] if call.method == Method::GET => on(Route::List, false),
        [] if call.method == Method::POST => on(Route::Create, false),
        [] => on(Route::List, true),
        ["$count"] => on(Route::Count, call.method != Method::GET),
        ["delta" | "delta()" | "microsoft.graph.delta()"] => on(Route::Unserved, false),
        [id, rest @ ..] => of_object(call, prefix, kind, Key::Id((*id).to_owned()), rest),
    }
}

fn of_object(call: &Call, prefix: &'static str, kind: Kind, key: Key, rest: &[&str]) -> Operation {
    let mut operation = Operation {
        kind: Some(kind),
        key: Some(key),
        ..plain(prefix, Route::Unserved)
    };
    let methods: &[(Method, Route)] = match rest {
        [] => &[
            (Method::GET, Route::Get),
            (Method::PATCH, Route::Update),
            (Method::DELETE, Route::Delete),
        ],
        [word] => action(kind, word),
        [word, rest @ ..] => {
            let (methods, part, form) = member(kind, word, rest);
            operation.part = part;
            operation.form = form;
            methods
        }
    };
    if matches!(rest, [word] if word.eq_ignore_ascii_case("appRoleAssignedTo")) {
        operation.form = Form::AssignedTo;
    }
    if let [word] = rest
        && let (name, Some(part)) = keyed(word)
        && name.eq_ignore_ascii_case("federatedIdentityCredentials")
        && kind == Kind::Application
    {
        operation.part = Some(part);
        return choose(call, operation, FEDERATED);
    }
    choose(call, operation, methods)
}

/// Takes the route of the method; the first one stands for a path that is served by other methods only.
fn choose(call: &Call, mut operation: Operation, methods: &[(Method, Route)]) -> Operation {
    let fitting = methods.iter().find(|(method, _)| *method == call.method);
    if let Some((_, route)) = fitting.or_else(|| methods.first()) {
        operation.route = *route;
        operation.wrong_method = fitting.is_none();
    }
    operation
}

/// Returns what a single word after an object may mean.
fn action(kind: Kind, word: &str) -> &'static [(Method, Route)] {
    let word = word.strip_prefix("microsoft.graph.").unwrap_or(word);
    match word.to_ascii_lowercase().as_str() {
        "addpassword" => &[(Method::POST, Route::AddPassword)],
        "removepassword" => &[(Method::POST, Route::RemovePassword)],
        "addkey" => &[(Method::POST, Route::AddKey)],
        "removekey" => &[(Method::POST, Route::RemoveKey)],
        "owners" => &[
            (Method::GET, Route::ListOwners),
            (Method::POST, Route::AddOwner),
        ],
        "federatedidentitycredentials" if kind == Kind::Application => &[
            (Method::GET, Route::ListFederated),
            (Method::POST, Route::CreateFederated),
        ],
        "approleassignments" | "approleassignedto" if kind == Kind::ServicePrincipal => &[
            (Method::GET, Route::ListRoles),
            (Method::POST, Route::AssignRole),
        ],
        "ownedobjects" if kind == Kind::ServicePrincipal => &[(Method::GET, Route::ListOwned)],
        "appmanagementpolicies" => &[(Method::GET, Route::Policy)],
        _ => &[],
    }
}

/// Returns what two or three words after an object may mean, and what they name.
fn member(
    kind: Kind,
    word: &str,
    rest: &[&str],
) -> (&'static [(Method, Route)], Option<Key>, Form) {
    let id = |id: &str| Some(Key::Id(id.to_owned()));
    match (word.to_ascii_lowercase().as_str(), rest) {
        ("owners", ["$ref"]) => (
            &[
                (Method::GET, Route::ListOwners),
                (Method::POST, Route::AddOwner),
            ],
            None,
            Form::Reference,
        ),
        ("owners", [owner, "$ref"]) => (
            &[(Method::DELETE, Route::RemoveOwner)],
            id(owner),
            Form::Reference,
        ),
        ("federatedidentitycredentials", [one]) if kind == Kind::Application => {
            (FEDERATED, id(one), Form::Plain)
        }
        ("approleassignments", [one]) if kind == Kind::ServicePrincipal => (
            &[(Method::DELETE, Route::UnassignRole)],
            id(one),
            Form::Plain,
        ),
        ("approleassignedto", [one]) if kind == Kind::ServicePrincipal => (
            &[(Method::DELETE, Route::UnassignRole)],
            id(one),
            Form::AssignedTo,
        ),
        _ => (&[], None, Form::Plain),
    }
}

const FEDERATED: &[(Method, Route)] = &[
    (Method::GET, Route::GetFederated),
    (Method::PATCH, Route::UpdateFederated),
    (Method::DELETE, Route::DeleteFederated),
];

fn of_other(call: &Call, prefix: &'static str, first: &str, rest: &[&str]) -> Operation {
    let methods: &[(Method, Route)] = match (first.to_ascii_lowercase().as_str(), rest) {
        ("me", []) => &[(Method::GET, Route::Me)],
        ("organization", []) => &[(Method::GET, Route::Organization)],
        ("$batch", []) => &[(Method::POST, Route::Batch)],
        ("policies", ["defaultAppManagementPolicy"]) => {
            &[(Method::GET, Route::Policy), (Method::PATCH, Route::Policy)]
        }
        _ => &[],
    };
    choose(call, plain(prefix, Route::Unserved), methods)
}

impl Operation {
    /// Finds the object that the path names, if it has arrived where the request is answered.
    pub(crate) fn find<'w>(
        &self,
        tenant: &'w Tenant,
        behaviours: &Behaviours,
        seen: Seen,
    ) -> Result<&'w Object, GraphError> {
        let (Some(kind), Some(key)) = (self.kind, &self.key) else {
            return Err(GraphError::not_found(""));
        };
        let found = match key {
            Key::Id(id) => {
                let id = Uuid::try_parse(id).map_err(|_| {
                    GraphError::invalid(format!("Invalid object identifier '{id}'."))
                })?;
                tenant.object(kind, id)
            }
            Key::Named(name, value) => by_key(tenant, kind, name, value)?,
        };
        found
            .filter(|object| {
                let lag = behaviours.object_lag;
                behaviours.arrived(lag, object.id, Event::Created, object.created, seen)
            })
            .ok_or_else(|| GraphError::not_found(key.value()))
    }
}

impl Key {
    pub(crate) fn value(&self) -> &str {
        match self {
            Self::Id(value) | Self::Named(_, value) => value,
        }
    }
}

fn by_key<'w>(
    tenant: &'w Tenant,
    kind: Kind,
    name: &str,
    value: &str,
) -> Result<Option<&'w Object>, GraphError> {
    match name {
        "appId" => {
            let id = Uuid::try_parse(value).map_err(|_| {
                GraphError::invalid("Invalid value specified for property 'appId' of resource.")
            })?;
            Ok(tenant.by_app_id(kind, id))
        }
        "uniqueName" if kind == Kind::Application => Ok(tenant
            .of_kind(kind)
            .find(|object| object.text("uniqueName") == value)),
        _ => Err(GraphError::bad_request(format!(
            "The key property '{name}' is not a key of type 'microsoft.graph.{}'.",
            kind.type_name()
        ))),
    }
}
