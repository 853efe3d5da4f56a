use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::{Map, Value, json};

use super::{GraphError, Request, body, render};
use crate::call::Reply;
use crate::directory::{History, Kind, Object, Password, Policy};
use crate::log::Effect;
use crate::random;
use crate::seed::two_years_after;
use crate::world::World;

/// `POST …/addPassword`: the only answer that ever shows a secret's text.
pub(crate) fn add(request: &Request<'_>) -> Result<Reply, GraphError> {
    let wanted = Wanted::read(request)?;
    let world = &mut *request.service.world();
    let object = request.object(world)?;
    check_room(object, world)?;
    check_lock(request, world, object)?;
    check_policy(
        request.tenant(world)?.policies.of(object.id),
        object,
        &wanted,
    )?;
    let password = wanted.make(request.seen.now);
    let mut shown = render::password(&password, &world.behaviours);
    shown["secretText"] = json!(password.text.expose());
    shown["@odata.context"] = json!(request.context("microsoft.graph.passwordCredential"));
    let object = request.object_mut(world)?;
    let effect = Effect::SecretAdded {
        client_id: object.app_id.to_string(),
        key_id: password.key_id.to_string(),
        display_name: password.display_name.clone(),
        end: password.end,
    };
    object.passwords.insert(0, password);
    request.note(world, effect);
    Ok(Reply::json(StatusCode::OK, &shown))
}

/// `POST …/removePassword`.
pub(crate) fn remove(request: &Request<'_>) -> Result<Reply, GraphError> {
    let parameters = body::parameters(request.call, "removePassword", &["keyId"])?;
    let key_id = body::guid(&parameters, "keyId")?;
    let world = &mut *request.service.world();
    let behaviours = world.behaviours.clone();
    let object = request.object_mut(world)?;
    let client_id = object.app_id.to_string();
    let password = object
        .passwords
        .iter_mut()
        .filter(|it| it.history.in_writes(it.key_id, &behaviours, request.seen))
        .find(|password| password.key_id == key_id)
        .ok_or_else(|| {
            // Attested with this status and this text by four rotators, each of which matches the text.
            GraphError::invalid(format!(
                "No password credential found with keyId '{key_id}'."
            ))
        })?;
    password.history.removed = Some(request.seen.now);
    let effect = Effect::SecretRemoved {
        client_id,
        key_id: key_id.to_string(),
    };
    request.note(world, effect);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// Credentials are not changed by `PATCH`: what is sent must be what is there.
pub(crate) fn check_unchanged(object: &Object, sent: &Value) -> Result<(), GraphError> {
    let present = || object.passwords.iter().filter(|it| it.history.present());
    let sent: Vec<_> = sent.as_array().into_iter().flatten().collect();
    for credential in &sent {
        let id = credential["keyId"]
            .as_str()
            .and_then(|id| uuid::Uuid::try_parse(id).ok());
        if !present().any(|it| Some(it.key_id) == id) {
            return Err(GraphError::invalid(
                "New password credentials must be generated with service actions.",
            ));
        }
    }
    for password in present() {
        let id = password.key_id.to_string();
        let twin = sent.iter().find(|it| {
            it["keyId"]
                .as_str()
                .is_some_and(|it| it.eq_ignore_ascii_case(&id))
        });
        let same = twin.is_some_and(|it| {
            let same_name = it
                .get("displayName")
                .is_none_or(|name| *name == json!(password.display_name));
            let same_end = it
                .get("endDateTime")
                .is_none_or(|end| *end == json!(render::date(password.end)));
            same_name && same_end && it.get("secretText").is_none_or(Value::is_null)
        });
        if !same {
            return Err(GraphError::new(
                400,
                "KeyNotUpdatable",
                format!("Update to existing credential with KeyId '{id}' is not allowed."),
            ));
        }
    }
    Ok(())
}

/// Makes the secrets that `POST /applications` may ask for, and returns their texts.
pub(crate) fn initial(
    request: &Request<'_>,
    world: &World,
    object: &mut Object,
    wanted: &Value,
) -> Result<Vec<String>, GraphError> {
    for credential in wanted.as_array().into_iter().flatten() {
        let credential = credential.as_object().cloned().unwrap_or_default();
        if credential.get("keyId").is_some_and(|id| !id.is_null()) {
            return Err(GraphError::invalid(
                "The property KeyId is not supported for Create Application flow.",
            ));
        }
        let wanted = Wanted::of(&credential, request.seen.now)?;
        check_room(object, world)?;
        check_policy(
            request.tenant(world)?.policies.of(object.id),
            object,
            &wanted,
        )?;
        object.passwords.insert(0, wanted.make(request.seen.now));
    }
    let texts = object.passwords.iter();
    Ok(texts.map(|it| it.text.expose().to_owned()).collect())
}

/// What `addPassword` is asked for.
struct Wanted {
    display_name: Option<String>,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
}

impl Wanted {
    fn read(request: &Request<'_>) -> Result<Self, GraphError> {
        let parameters = body::parameters(request.call, "addPassword", &["passwordCredential"])?;
        let credential = match parameters.get("passwordCredential") {
            None | Some(Value::Null) => Map::new(),
            Some(Value::Object(credential)) => credential.clone(),
            Some(other) => {
                return Err(GraphError::literal(
                    &other.to_string(),
                    "microsoft.graph.passwordCredential",
                ));
            }
        };
        Self::of(&credential, request.seen.now)
    }

    fn of(credential: &Map<String, Value>, now: DateTime<Utc>) -> Result<Self, GraphError> {
        check_members(credential)?;
        let start = body::date(credential, "startDateTime")?.unwrap_or(now);
        let end = body::date(credential, "endDateTime")?.unwrap_or_else(|| two_years_after(start));
        if end <= start {
            return Err(GraphError::new(
                400,
                "KeyCredentialsInvalidEndDate",
                "Key credential end date is invalid.",
            ));
        }
        Ok(Self {
            display_name: body::text(credential, "displayName")?,
            start,
            end,
        })
    }

    fn make(self, now: DateTime<Utc>) -> Password {
        Password {
            key_id: random::guid(),
            display_name: self.display_name,
            text: random::client_secret(),
            start: self.start,
            end: self.end,
            history: History::starting(now),
        }
    }
}

/// The service generates these itself and takes them from nobody.
fn check_members(credential: &Map<String, Value>) -> Result<(), GraphError> {
    for (name, value) in credential {
        match name.as_str() {
            "displayName" | "endDateTime" | "startDateTime" | "@odata.type" => {}
            "customKeyIdentifier" | "hint" | "keyId" | "secretText" if value.is_null() => {}
            "customKeyIdentifier" | "hint" | "keyId" | "secretText" => {
                return Err(GraphError::invalid(format!(
                    "Property '{name}' is read-only and cannot be set: new password credentials are \
                     generated by the service."
                )));
            }
            other => {
                return Err(GraphError::bad_request(format!(
                    "The property '{other}' does not exist on type 'microsoft.graph.passwordCredential'. \
                     Make sure to only use property names that are defined by the type."
                )));
            }
        }
    }
    Ok(())
}

fn check_room(object: &Object, world: &World) -> Result<(), GraphError> {
    let held = object
        .passwords
        .iter()
        .filter(|it| it.history.present())
        .count();
    if object.admits_personal_accounts() && held >= 2 {
        return Err(GraphError::new(
            400,
            "TooManyAppPasswords",
            format!(
                "Not allowed to add {} passwords. You can only add a maximum of 2 passwords.",
                held + 1
            ),
        ));
    }
    check_size(object, world)
}

/// Refuses another value on an object that is full.
pub(crate) fn check_size(object: &Object, world: &World) -> Result<(), GraphError> {
    let limit = usize::try_from(world.behaviours.object_items).unwrap_or(usize::MAX);
    if object.items() < limit {
        return Ok(());
    }
    Err(GraphError::new(
        403,
        "Directory_ResourceSizeExceeded",
        "The size of the object has exceeded its limit. Please reduce the number of values and retry your request.",
    ))
}

/// New applications lock their service principals: credentials belong on the application.
pub(crate) fn check_lock(
    request: &Request<'_>,
    world: &World,
    object: &Object,
) -> Result<(), GraphError> {
    if request.operation.kind != Some(Kind::ServicePrincipal) {
        return Ok(());
    }
    let application = world.directory.application(object.app_id);
    let lock = application
        .map(|(_, application)| application.property("servicePrincipalLockConfiguration"))
        .unwrap_or_default();
    let is = |name: &str| lock[name] == true;
    if is("isEnabled") && (is("allProperties") || is("credentialsWithUsageVerify")) {
        return Err(GraphError::new(
            403,
            "CannotUpdateLockedServicePrincipalProperty",
            "Property passwordCredentials on the service principal is locked.",
        ));
    }
    Ok(())
}

fn check_policy(policy: &Policy, object: &Object, wanted: &Wanted) -> Result<(), GraphError> {
    if policy.forbids("passwordAddition", object.created) {
        return Err(GraphError::new(
            400,
            "CredentialTypeNotAllowedAsPerAppPolicy",
            format!(
                "Credential type not allowed as per assigned policy '{}'.",
                policy.id
            ),
        ));
    }
    check_lifetime(policy, object, "passwordLifetime", wanted.start, wanted.end)
}

/// Refuses a credential that lives longer than the policy allows.
pub(crate) fn check_lifetime(
    policy: &Policy,
    object: &Object,
    restriction: &str,
    start: DateTime<Utc>,
    end: DateTime<Utc>,
) -> Result<(), GraphError> {
    let longest = policy.longest(restriction, object.created);
    if longest.is_none_or(|longest| end - start <= longest) {
        return Ok(());
    }
    let text = format!(
        "Credential lifetime exceeds the max value allowed as per assigned policy '{}'.",
        policy.id
    );
    let details = json!([{ "code": "InvalidKeyEndDate", "message": text, "target": "EndDate" }]);
    Err(GraphError::new(400, "CredentialInvalidLifetimeAsPerAppPolicy", text).with_details(details))
}
