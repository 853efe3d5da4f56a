use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::schema;
use super::{Federated, GRAPH_APP_ID, Key, Password, graph_roles, graph_scopes};
use crate::directory::credential::History;

/// An application or a service principal: two kinds of object, each with an object id of its own, that
/// share the `appId` and most operations.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Object {
    pub(crate) kind: Kind,
    /// The object id.
    pub(crate) id: Uuid,
    /// The client id.
    pub(crate) app_id: Uuid,
    pub(crate) created: DateTime<Utc>,
    /// What Graph shows besides ids, dates and credentials, as Graph shows it.
    pub(crate) properties: Map<String, Value>,
    /// Newest first.
    pub(crate) passwords: Vec<Password>,
    /// Newest first.
    pub(crate) keys: Vec<Key>,
    pub(crate) federated: Vec<Federated>,
    /// Users and service principals, and when each became one.
    pub(crate) owners: BTreeMap<Uuid, History>,
    /// When it was last written to, for conflicts.
    pub(crate) written: Option<DateTime<Utc>>,
}

/// The two kinds of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Application,
    ServicePrincipal,
}

impl Kind {
    /// Returns the kind's name in Graph's types.
    pub(crate) fn type_name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::ServicePrincipal => "servicePrincipal",
        }
    }

    /// Returns the name of the collection.
    pub(crate) fn collection(self) -> &'static str {
        match self {
            Self::Application => "applications",
            Self::ServicePrincipal => "servicePrincipals",
        }
    }
}

impl Object {
    pub(crate) fn application(id: Uuid, app_id: Uuid, name: &str, created: DateTime<Utc>) -> Self {
        let mut object = Self::new(Kind::Application, id, app_id, created);
        object.set("displayName", json!(name));
        object
    }

    /// Makes the service principal of an application, in the application's or another tenant.
    pub(crate) fn principal_of(
        application: &Self,
        id: Uuid,
        home: Uuid,
        created: DateTime<Utc>,
    ) -> Self {
        let app_id = application.app_id;
        let mut object = Self::new(Kind::ServicePrincipal, id, app_id, created);
        let mut names = vec![app_id.to_string()];
        names.extend(application.texts("identifierUris").map(str::to_owned));
        object.set("displayName", application.property("displayName"));
        object.set("appDisplayName", application.property("displayName"));
        object.set("signInAudience", application.property("signInAudience"));
        object.set("appRoles", application.property("appRoles"));
        object.set(
            "oauth2PermissionScopes",
            application.properties["api"]["oauth2PermissionScopes"].clone(),
        );
        object.set("appOwnerOrganizationId", json!(home));
        object.set("servicePrincipalNames", json!(names));
        object.set(
            "replyUrls",
            json!(application.redirect_uris().collect::<Vec<_>>()),
        );
        object
    }

    /// Makes the service principal of Microsoft Graph, which every tenant has.
    pub(crate) fn graph(id: Uuid, created: DateTime<Utc>) -> Self {
        let mut object = Self::new(Kind::ServicePrincipal, id, GRAPH_APP_ID, created);
        object.set("displayName", json!("Microsoft Graph"));
        object.set("appDisplayName", json!("Microsoft Graph"));
        object.set(
            "appOwnerOrganizationId",
            json!("f8cdef31-a31e-4b4a-93e4-5f571e91255a"),
        );
        object.set("appRoles", graph_roles());
        object.set("oauth2PermissionScopes", graph_scopes());
        object.set(
            "servicePrincipalNames",
            json!([GRAPH_APP_ID, "https://graph.microsoft.com"]),
        );
        object.set("signInAudience", json!("AzureADMultipleOrgs"));
        object
    }

    fn new(kind: Kind, id: Uuid, app_id: Uuid, created: DateTime<Utc>) -> Self {
        Self {
            kind,
            id,
            app_id,
            created,
            properties: schema::defaults(kind),
            passwords: Vec::new(),
            keys: Vec::new(),
            federated: Vec::new(),
            owners: BTreeMap::new(),
            written: None,
        }
    }

    pub(crate) fn set(&mut self, name: &str, value: Value) {
        self.properties.insert(name.to_owned(), value);
    }

    /// Sets what a `POST` or `PATCH` brings. What it leaves out of an object stays as it is, as the service
    /// does it: a new list of redirect URIs takes no logout URL away.
    pub(crate) fn change(&mut self, wanted: Map<String, Value>) {
        merge(&mut self.properties, wanted);
    }

    pub(crate) fn property(&self, name: &str) -> Value {
        self.properties.get(name).cloned().unwrap_or(Value::Null)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        self.properties
            .get(name)
            .and_then(Value::as_str)
            .unwrap_or("")
    }

    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.properties.get(name).and_then(Value::as_bool)
    }

    pub(crate) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        texts(self.properties.get(name))
    }

    pub(crate) fn display_name(&self) -> &str {
        self.text("displayName")
    }

    /// Tells whether it is switched off.
    pub(crate) fn is_disabled(&self) -> bool {
        self.flag("isDisabled") == Some(true) || self.flag("accountEnabled") == Some(false)
    }

    pub(crate) fn is_multi_tenant(&self) -> bool {
        !matches!(self.text("signInAudience"), "AzureADMyOrg" | "")
    }

    /// Tells whether personal accounts may sign in. Such applications hold at most two secrets.
    pub(crate) fn admits_personal_accounts(&self) -> bool {
        self.text("signInAudience")
            .contains("PersonalMicrosoftAccount")
    }

    /// Returns the redirect URIs of one platform: `web`, `spa` or `publicClient`.
    pub(crate) fn redirect_uris_of(&self, platform: &str) -> impl Iterator<Item = &str> {
        texts(
            self.properties
                .get(platform)
                .and_then(|it| it.get("redirectUris")),
        )
    }

    pub(crate) fn redirect_uris(&self) -> impl Iterator<Item = &str> {
        ["web", "spa", "publicClient"]
            .into_iter()
            .flat_map(|platform| self.redirect_uris_of(platform))
    }

    /// Returns the name of a role that this object defines.
    pub(crate) fn role_name(&self, id: Uuid) -> Option<&str> {
        self.defined("appRoles")
            .find(|role| guid_at(role, "id") == Some(id))
            .and_then(|role| role["value"].as_str())
    }

    pub(crate) fn role_named(&self, name: &str) -> Option<Uuid> {
        self.defined("appRoles")
            .find(|role| role["value"] == name)
            .and_then(|role| guid_at(role, "id"))
    }

    /// Returns a scope that this object defines, by name.
    pub(crate) fn scope_named(&self, name: &str) -> Option<&Value> {
        self.defined("oauth2PermissionScopes").find(|scope| {
            scope["value"]
                .as_str()
                .is_some_and(|it| it.eq_ignore_ascii_case(name))
        })
    }

    pub(crate) fn scope_name(&self, id: Uuid) -> Option<&str> {
        self.defined("oauth2PermissionScopes")
            .find(|scope| guid_at(scope, "id") == Some(id))
            .and_then(|scope| scope["value"].as_str())
    }

    /// Returns what the application says it needs of `resource`: ids of roles (`Role`) or scopes (`Scope`).
    pub(crate) fn required(&self, resource: Uuid, kind: &str) -> Vec<Uuid> {
        self.defined("requiredResourceAccess")
            .filter(|entry| guid_at(entry, "resourceAppId") == Some(resource))
            .flat_map(|entry| entry["resourceAccess"].as_array().into_iter().flatten())
            .filter(|access| access["type"] == kind)
            .filter_map(|access| guid_at(access, "id"))
            .collect()
    }

    /// Counts the values that the limit on an object's size is about.
    pub(crate) fn items(&self) -> usize {
        let lists = [
            "identifierUris",
            "appRoles",
            "requiredResourceAccess",
            "tags",
        ];
        let listed: usize = lists.iter().map(|name| self.defined(name).count()).sum();
        let passwords = self.passwords.iter().filter(|it| it.history.present());
        let keys = self.keys.iter().filter(|it| it.history.present());
        listed + passwords.count() + keys.count() + self.redirect_uris().count()
    }

    /// Forgets what was removed before `since`.
    pub(crate) fn forget(&mut self, since: DateTime<Utc>) {
        let kept = |history: History| history.removed.is_none_or(|removed| removed > since);
        self.passwords.retain(|it| kept(it.history));
        self.keys.retain(|it| kept(it.history));
        self.federated.retain(|it| kept(it.history));
        self.owners.retain(|_, history| kept(*history));
    }

    pub(crate) fn is_owned_by(&self, principal: Uuid) -> bool {
        self.owners
            .get(&principal)
            .is_some_and(|history| history.present())
    }

    fn defined(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.properties
            .get(name)
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
    }
}

fn merge(into: &mut Map<String, Value>, wanted: Map<String, Value>) {
    for (name, value) in wanted {
        if name.starts_with("@odata.") {
            continue;
        }
        match (into.get_mut(&name), value) {
            (Some(Value::Object(held)), Value::Object(value)) => merge(held, value),
            (_, value) => drop(into.insert(name, value)),
        }
    }
}

fn texts(list: Option<&Value>) -> impl Iterator<Item = &str> {
    list.and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn guid_at(value: &Value, name: &str) -> Option<Uuid> {
    value[name]
        .as_str()
        .and_then(|text| Uuid::try_parse(text).ok())
}
