use super::Refusal;
use super::resource::{self, Resource, is_openid};
use super::token::Place;
use crate::directory::{GRAPH_APP_ID, Object, Tenant};
use crate::world::World;

/// The scopes that a user's sign-in asks for.
#[derive(Clone, Debug)]
pub(crate) struct Scopes {
    /// Those of OpenID Connect.
    pub(crate) openid: Vec<String>,
    /// Those of the resource, by their short names, as the resource writes them.
    pub(crate) names: Vec<String>,
    pub(crate) resource: Resource,
    /// Whether `/.default` was asked for: whatever the registration lists.
    pub(crate) all_registered: bool,
    /// The resource's identifier, when the scopes were written with it.
    prefix: Option<String>,
}

impl Scopes {
    /// Reads a `scope` parameter. A scope without a resource is one of Graph.
    pub(crate) fn read(
        world: &World,
        tenant: &Tenant,
        place: &Place<'_>,
        client: Option<&Object>,
        text: &str,
    ) -> Result<Self, Refusal> {
        let (openid, others): (Vec<&str>, Vec<&str>) =
            text.split_whitespace().partition(|it| is_openid(it));
        let prefix = others.iter().find_map(|it| split(it).0);
        if others
            .iter()
            .any(|it| split(it).0 != prefix && split(it).0.is_some())
        {
            return Err(Refusal::invalid_request(
                28_000,
                format!(
                    "Provided value for the input parameter scope is not valid because it contains more than \
                     one resource. Scope {text} is not valid."
                ),
            ));
        }
        let identifier = prefix.map_or_else(|| GRAPH_APP_ID.to_string(), str::to_owned);
        let resource = resource::find(world, tenant, place, &identifier)?;
        let definition = tenant.objects.get(&resource.principal);
        let mut names = Vec::new();
        for short in others
            .iter()
            .map(|it| split(it).1)
            .filter(|it| *it != DEFAULT)
        {
            let known = definition.and_then(|it| it.scope_named(short)?["value"].as_str());
            names.push(
                known
                    .ok_or_else(|| unknown_scope(client, short, &resource))?
                    .to_owned(),
            );
        }
        let all_registered = others.iter().any(|it| split(it).1 == DEFAULT);
        if let (true, Some(client), Some(definition)) = (all_registered, client, definition) {
            let listed = client.required(resource.app_id, "Scope").into_iter();
            names.extend(
                listed
                    .filter_map(|id| definition.scope_name(id))
                    .map(str::to_owned),
            );
        }
        Ok(Self {
            openid: openid.into_iter().map(str::to_owned).collect(),
            names,
            resource,
            all_registered,
            prefix: prefix.map(str::to_owned),
        })
    }

    pub(crate) fn asks_for(&self, openid: &str) -> bool {
        self.openid.iter().any(|it| it == openid)
    }

    /// Returns everything that must be consented to.
    pub(crate) fn all(&self) -> Vec<&str> {
        self.openid
            .iter()
            .chain(&self.names)
            .map(String::as_str)
            .collect()
    }

    /// Writes the scopes of an answer in the form in which they were asked for.
    pub(crate) fn shown(&self, granted: &[&str]) -> String {
        let written = |name: &str| match &self.prefix {
            Some(prefix) if !is_openid(name) => format!("{prefix}/{name}"),
            _ => name.to_owned(),
        };
        let default = self.all_registered.then(|| written(DEFAULT));
        let granted = granted.iter().filter(|it| **it != "offline_access");
        granted
            .map(|name| written(name))
            .chain(default)
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// Splits a scope into resource and short name.
fn split(scope: &str) -> (Option<&str>, &str) {
    match scope.rsplit_once('/') {
        Some((resource, name)) if !resource.is_empty() => (Some(resource), name),
        _ => (None, scope),
    }
}

fn unknown_scope(client: Option<&Object>, scope: &str, resource: &Resource) -> Refusal {
    let name = client.map_or("", |client| client.display_name());
    Refusal::new(
        400,
        "invalid_client",
        650_053,
        format!(
            "The application '{name}' asked for scope '{scope}' that doesn't exist on the resource '{}'. \
             Contact the app vendor.",
            resource.app_id
        ),
    )
}

const DEFAULT: &str = ".default";
