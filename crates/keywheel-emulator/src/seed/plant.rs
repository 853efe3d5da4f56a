use std::collections::BTreeMap;

use chrono::{DateTime, Days, Months, Utc};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{
    ApplicationSeed, FederatedSeed, InvalidSeed, PolicySeed, SecretSeed, Seed, TenantSeed,
};
use crate::SecretText;
use crate::certificate::Certificate;
use crate::directory::{
    Assignment, Directory, ENTRIES, Federated, GRAPH_APP_ID, History, Key, Kind, Object, Password,
    Policies, Policy, Restriction, Shape, Tenant, User, property,
};
use crate::keys::RsaKey;
use crate::random::{self, guid_of};

/// What a seed grew into.
#[derive(Debug)]
pub(crate) struct Planted {
    pub(crate) directory: Directory,
    /// The default application: tenant and client id.
    pub(crate) default_app: Option<(Uuid, Uuid)>,
    /// The certificates that are still to be made, see [`certify`].
    pub(crate) pending: Vec<Pending>,
    /// The issuers that federated credentials may trust, with their keys.
    pub(crate) issuers: BTreeMap<String, Value>,
}

/// A certificate that the seed asks for, to be registered once its key is made.
#[derive(Clone, Debug)]
pub(crate) struct Pending {
    client_id: Uuid,
    key_id: Uuid,
    display_name: Option<String>,
}

/// Makes the directory that a seed describes, all but the certificates that need a key first.
pub(crate) fn plant(seed: &Seed, now: DateTime<Utc>) -> Result<Planted, InvalidSeed> {
    let mut directory = Directory::default();
    let mut default_app = None;
    let mut pending = Vec::new();
    for tenant in &seed.tenants {
        let (tenant, first) = plant_tenant(tenant, now, &mut pending)?;
        default_app = default_app.or_else(|| first.map(|client_id| (tenant.id, client_id)));
        let id = tenant.id;
        if directory.tenants.insert(id, tenant).is_some() {
            return Err(InvalidSeed::new(format!("tenants.id: {id} comes twice")));
        }
    }
    Ok(Planted {
        directory,
        default_app,
        pending,
        issuers: issuers(seed)?,
    })
}

/// Makes the pending certificates with `key` and registers them.
pub(crate) fn certify(
    directory: &mut Directory,
    pending: &[Pending],
    key: &RsaKey,
    now: DateTime<Utc>,
) {
    for wanted in pending {
        if let Some(application) = directory.application_mut(wanted.client_id) {
            let name = application.display_name().to_owned();
            let certificate = key.certificate(&name, now - Days::new(1), two_years_after(now));
            let made = Key::of(certificate, wanted.key_id, wanted.display_name.clone(), now);
            application.keys.push(made);
        }
    }
}

fn issuers(seed: &Seed) -> Result<BTreeMap<String, Value>, InvalidSeed> {
    seed.issuers
        .iter()
        .map(|issuer| {
            let jwks = serde_json::from_str(&issuer.jwks).map_err(|error| {
                InvalidSeed::new(format!("issuers.jwks of {}: {error}", issuer.url))
            })?;
            Ok((issuer.url.clone(), jwks))
        })
        .collect()
}

fn plant_tenant(
    seed: &TenantSeed,
    now: DateTime<Utc>,
    pending: &mut Vec<Pending>,
) -> Result<(Tenant, Option<Uuid>), InvalidSeed> {
    let domain = seed
        .domains
        .first()
        .ok_or_else(|| InvalidSeed::new("tenants.domains: at least one is needed"))?;
    let id = guid("tenants.id", seed.id.as_deref(), &["tenant", domain])?;
    let graph = Object::graph(guid_of(&["graph", &id.to_string()]), now);
    let mut tenant = Tenant {
        id,
        display_name: seed.display_name.clone().unwrap_or_else(|| domain.clone()),
        domains: seed.domains.clone(),
        created: now,
        objects: BTreeMap::from([(graph.id, graph)]),
        users: users(seed, id, now)?,
        assignments: BTreeMap::new(),
        consents: Vec::new(),
        policies: Policies {
            default: default_policy(&seed.policy, id)?,
            custom: Vec::new(),
        },
    };
    let mut first = None;
    for application in &seed.applications {
        let client_id = plant_application(&mut tenant, application, now, pending)?;
        first = first.or(Some(client_id));
    }
    for application in &seed.applications {
        plant_owners(&mut tenant, application, now)?;
    }
    Ok((tenant, first))
}

fn users(
    seed: &TenantSeed,
    tenant: Uuid,
    now: DateTime<Utc>,
) -> Result<BTreeMap<Uuid, User>, InvalidSeed> {
    seed.users
        .iter()
        .map(|user| {
            let derived = ["user", &tenant.to_string(), &user.name];
            let id = guid("users.id", user.id.as_deref(), &derived)?;
            let user = User {
                id,
                name: user.name.clone(),
                display_name: user
                    .display_name
                    .clone()
                    .unwrap_or_else(|| user.name.clone()),
                password: SecretText::new(user.password.clone()),
                roles: user.roles.clone(),
                valid_from: now,
            };
            Ok((id, user))
        })
        .collect()
}

fn plant_application(
    tenant: &mut Tenant,
    seed: &ApplicationSeed,
    now: DateTime<Utc>,
    pending: &mut Vec<Pending>,
) -> Result<Uuid, InvalidSeed> {
    let home = tenant.id.to_string();
    let name = seed.display_name.as_str();
    let derived = |what: &str| guid_of(&[what, &home, name]).to_string();
    let id_of = |field: &str, given: &Option<String>, what: &str| {
        guid(field, given.as_deref(), &[&derived(what)])
    };
    let client_id = id_of("applications.client_id", &seed.client_id, "client")?;
    let object_id = id_of("applications.object_id", &seed.object_id, "application")?;
    let principal_id = id_of(
        "applications.service_principal_id",
        &seed.service_principal_id,
        "service principal",
    )?;
    let mut application = Object::application(object_id, client_id, name, now);
    describe(&mut application, seed, tenant)?;
    application.passwords = secrets(seed, client_id, now)?;
    application.keys = certificates(seed, client_id, now, pending)?;
    application.federated = seed
        .federated
        .iter()
        .map(|federated| credential_of(federated, client_id, now))
        .collect();
    let principal = Object::principal_of(&application, principal_id, tenant.id, now);
    grant_roles(tenant, seed, principal_id, now)?;
    if let Some(own) = &seed.policy {
        tenant.policies.custom.push(Policy {
            id: guid_of(&["policy", &object_id.to_string()]),
            display_name: format!("Policy of {name}"),
            is_enabled: true,
            applies_to: vec![object_id, principal_id],
            ..policy(own)?
        });
    }
    for object in [application, principal] {
        let id = object.id;
        if tenant.objects.insert(id, object).is_some() {
            return Err(InvalidSeed::new(format!(
                "applications: object id {id} comes twice"
            )));
        }
    }
    Ok(client_id)
}

/// Sets the properties that a seed names.
fn describe(
    application: &mut Object,
    seed: &ApplicationSeed,
    tenant: &Tenant,
) -> Result<(), InvalidSeed> {
    let audience = seed.audience.as_deref().unwrap_or("AzureADMyOrg");
    let public = !seed.public_redirect_uris.is_empty();
    application.set("signInAudience", json!(audience));
    application.set("publisherDomain", json!(tenant.default_domain()));
    application.set("identifierUris", json!(seed.identifier_uris));
    application.set("spa", json!({ "redirectUris": seed.spa_redirect_uris }));
    application.set(
        "publicClient",
        json!({ "redirectUris": seed.public_redirect_uris }),
    );
    application.set("isFallbackPublicClient", json!(public.then_some(true)));
    application.properties["web"]["redirectUris"] = json!(seed.redirect_uris);
    application.set("requiredResourceAccess", required(seed)?);
    for (name, value) in &seed.properties {
        let value =
            serde_json::to_value(value).map_err(|error| InvalidSeed::new(error.to_string()))?;
        match property(Kind::Application, name) {
            Some(shape) if shape != Shape::ReadOnly && shape.admits(&value) => {
                application.set(name, value)
            }
            _ => {
                return Err(InvalidSeed::new(format!(
                    "applications.properties.{name}: no such property, or not of its type"
                )));
            }
        }
    }
    Ok(())
}

fn required(seed: &ApplicationSeed) -> Result<Value, InvalidSeed> {
    let mut access = Vec::new();
    for name in &seed.roles {
        access.push(json!({ "id": role(name)?, "type": "Role" }));
    }
    for name in &seed.scopes {
        let entry = ENTRIES.iter().find(|entry| entry.name == name);
        let id = entry.and_then(|entry| entry.scope).ok_or_else(|| {
            InvalidSeed::new(format!(
                "applications.scopes: {name:?} is no delegated permission here"
            ))
        })?;
        access.push(json!({ "id": id, "type": "Scope" }));
    }
    Ok(if access.is_empty() {
        json!([])
    } else {
        json!([{ "resourceAppId": GRAPH_APP_ID, "resourceAccess": access }])
    })
}

fn role(name: &str) -> Result<Uuid, InvalidSeed> {
    ENTRIES
        .iter()
        .find(|entry| entry.name == name)
        .and_then(|entry| entry.role)
        .ok_or_else(|| {
            InvalidSeed::new(format!(
                "applications.roles: {name:?} is no application permission here"
            ))
        })
}

fn grant_roles(
    tenant: &mut Tenant,
    seed: &ApplicationSeed,
    principal: Uuid,
    now: DateTime<Utc>,
) -> Result<(), InvalidSeed> {
    let graph = tenant
        .by_app_id(Kind::ServicePrincipal, GRAPH_APP_ID)
        .map_or(Uuid::nil(), |graph| graph.id);
    for name in &seed.roles {
        let id = guid_of(&["assignment", &principal.to_string(), name]);
        let assignment = Assignment {
            id,
            role: role(name)?,
            principal,
            resource: graph,
            created: now,
        };
        tenant.assignments.insert(id, assignment);
    }
    Ok(())
}

fn plant_owners(
    tenant: &mut Tenant,
    seed: &ApplicationSeed,
    now: DateTime<Utc>,
) -> Result<(), InvalidSeed> {
    let mut owners = Vec::new();
    if seed.owns_itself {
        owners.push(principal_named(tenant, &seed.display_name)?);
    }
    for name in &seed.owners {
        let user = tenant.user(name).map(|user| user.id);
        owners.push(match user {
            Some(user) => user,
            None => principal_named(tenant, name)?,
        });
    }
    let application = tenant.objects.values_mut().find(|object| {
        object.kind == Kind::Application && object.display_name() == seed.display_name
    });
    if let Some(application) = application {
        let starting = owners
            .into_iter()
            .map(|owner| (owner, History::starting(now)));
        application.owners.extend(starting);
    }
    Ok(())
}

fn principal_named(tenant: &Tenant, name: &str) -> Result<Uuid, InvalidSeed> {
    tenant
        .of_kind(Kind::ServicePrincipal)
        .find(|principal| principal.display_name() == name)
        .map(|principal| principal.id)
        .ok_or_else(|| {
            InvalidSeed::new(format!(
                "applications.owners: {name:?} is no user or application of the tenant"
            ))
        })
}

fn secrets(
    seed: &ApplicationSeed,
    client_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Vec<Password>, InvalidSeed> {
    let numbered = seed.secrets.iter().enumerate();
    let mut made = numbered
        .map(|(place, secret)| secret_of(secret, client_id, place, now))
        .collect::<Result<Vec<_>, _>>()?;
    made.reverse();
    Ok(made)
}

fn secret_of(
    seed: &SecretSeed,
    client_id: Uuid,
    place: usize,
    now: DateTime<Utc>,
) -> Result<Password, InvalidSeed> {
    let start = seed.start.unwrap_or(now);
    let derived = ["secret", &client_id.to_string(), &place.to_string()];
    Ok(Password {
        key_id: guid("secrets.key_id", seed.key_id.as_deref(), &derived)?,
        display_name: seed.display_name.clone(),
        text: seed
            .text
            .clone()
            .map_or_else(random::client_secret, SecretText::new),
        start,
        end: seed.end.unwrap_or_else(|| two_years_after(start)),
        history: History::starting(now),
    })
}

fn certificates(
    seed: &ApplicationSeed,
    client_id: Uuid,
    now: DateTime<Utc>,
    pending: &mut Vec<Pending>,
) -> Result<Vec<Key>, InvalidSeed> {
    let mut keys = Vec::new();
    for (place, wanted) in seed.certificates.iter().enumerate() {
        let derived = ["key", &client_id.to_string(), &place.to_string()];
        let key_id = guid("certificates.key_id", wanted.key_id.as_deref(), &derived)?;
        let display_name = wanted.display_name.clone();
        match &wanted.pem {
            Some(pem) => {
                let certificate = Certificate::from_pem(pem)
                    .ok_or_else(|| InvalidSeed::new("certificates.pem: holds no certificate"))?;
                keys.push(Key::of(certificate, key_id, display_name, now));
            }
            None => pending.push(Pending {
                client_id,
                key_id,
                display_name,
            }),
        }
    }
    Ok(keys)
}

fn credential_of(seed: &FederatedSeed, client_id: Uuid, now: DateTime<Utc>) -> Federated {
    let customary = || vec!["api://AzureADTokenExchange".to_owned()];
    Federated {
        id: guid_of(&["federated", &client_id.to_string(), &seed.name]),
        name: seed.name.clone(),
        issuer: seed.issuer.clone(),
        subject: seed.subject.clone(),
        audiences: if seed.audiences.is_empty() {
            customary()
        } else {
            seed.audiences.clone()
        },
        description: None,
        history: History::starting(now),
    }
}

/// Makes the default policy of a tenant; without restrictions it is switched off.
pub(crate) fn default_policy(seed: &PolicySeed, tenant: Uuid) -> Result<Policy, InvalidSeed> {
    Ok(Policy {
        id: guid_of(&["default policy", &tenant.to_string()]),
        display_name: "Default app management tenant policy".to_owned(),
        is_enabled: *seed != PolicySeed::default(),
        ..policy(seed)?
    })
}

fn policy(seed: &PolicySeed) -> Result<Policy, InvalidSeed> {
    let restriction = |kind: &str, longest: Option<&String>| Restriction {
        restriction_type: kind.to_owned(),
        max_lifetime: longest.cloned(),
        restrict_for_apps_created_after_date_time: seed.created_after,
        state: Some("enabled".to_owned()),
    };
    let mut policy = Policy::default();
    if seed.forbid_secrets {
        policy.passwords.push(restriction("passwordAddition", None));
    }
    if let Some(longest) = &seed.secret_lifetime {
        policy
            .passwords
            .push(restriction("passwordLifetime", Some(longest)));
    }
    if let Some(longest) = &seed.certificate_lifetime {
        policy
            .keys
            .push(restriction("asymmetricKeyLifetime", Some(longest)));
    }
    let lifetimes = [&seed.secret_lifetime, &seed.certificate_lifetime];
    match lifetimes
        .into_iter()
        .flatten()
        .find(|text| crate::directory::duration(text).is_none())
    {
        Some(text) => Err(InvalidSeed::new(format!(
            "policy: {text:?} is no ISO 8601 duration such as P90D"
        ))),
        None => Ok(policy),
    }
}

/// Returns the end of a credential whose end nobody gave.
pub(crate) fn two_years_after(start: DateTime<Utc>) -> DateTime<Utc> {
    start.checked_add_months(Months::new(24)).unwrap_or(start)
}

fn guid(field: &str, given: Option<&str>, derived: &[&str]) -> Result<Uuid, InvalidSeed> {
    given.map_or_else(
        || Ok(guid_of(derived)),
        |text| {
            Uuid::try_parse(text)
                .map_err(|_| InvalidSeed::new(format!("{field}: {text:?} is no GUID")))
        },
    )
}
