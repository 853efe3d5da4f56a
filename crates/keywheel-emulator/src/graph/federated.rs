use http::StatusCode;
use serde_json::{Map, Value, json};

use super::path::Key;
use super::{GraphError, Request, body, object};
use crate::call::Reply;
use crate::directory::{Federated, History};
use crate::log::Effect;
use crate::random;

/// `GET …/federatedIdentityCredentials`.
pub(crate) fn list(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &*request.service.world();
    let object = request.object(world)?;
    let present = object
        .federated
        .iter()
        .filter(|it| it.history.in_reads(it.id, &world.behaviours, request.seen));
    let shown: Vec<Value> = present.map(shown).collect();
    let context = request.context(&format!(
        "applications('{}')/federatedIdentityCredentials",
        object.id
    ));
    Ok(Reply::json(
        StatusCode::OK,
        &json!({ "@odata.context": context, "value": shown }),
    ))
}

/// `GET …/federatedIdentityCredentials/{id}`.
pub(crate) fn get(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &*request.service.world();
    let object = request.object(world)?;
    let found = object
        .federated
        .iter()
        .filter(|it| it.history.in_reads(it.id, &world.behaviours, request.seen))
        .find(|it| is_named(it, request))
        .ok_or_else(|| missing(request))?;
    let context = format!(
        "applications('{}')/federatedIdentityCredentials/$entity",
        object.id
    );
    let mut shown = shown(found);
    shown["@odata.context"] = json!(request.context(&context));
    Ok(Reply::json(StatusCode::OK, &shown))
}

/// `POST …/federatedIdentityCredentials`.
pub(crate) fn create(request: &Request<'_>) -> Result<Reply, GraphError> {
    let sent = body::object(request.call)?;
    let world = &mut *request.service.world();
    let mut made = Federated {
        id: random::guid(),
        name: String::new(),
        issuer: String::new(),
        subject: String::new(),
        audiences: Vec::new(),
        description: None,
        history: History::starting(request.seen.now),
    };
    change(&mut made, &sent, true)?;
    check_whole(&made)?;
    let object = request.object_mut(world)?;
    let present = || object.federated.iter().filter(|it| it.history.present());
    if present().count() >= MOST {
        return Err(GraphError::invalid(format!(
            "The number of federated identity credentials exceeds the limit of {MOST}."
        )));
    }
    if present().any(|it| it.name == made.name) {
        return Err(object::already_exists(&format!(
            "FederatedIdentityCredential with name {} already exists.",
            made.name
        )));
    }
    if present().any(|it| it.issuer == made.issuer && it.subject == made.subject) {
        return Err(object::already_exists(
            "Issuer and subject combination already exists.",
        ));
    }
    let mut shown = shown(&made);
    let context = format!(
        "applications('{}')/federatedIdentityCredentials/$entity",
        object.id
    );
    let effect = Effect::FederatedAdded {
        client_id: object.app_id.to_string(),
        id: made.id.to_string(),
    };
    object.federated.push(made);
    shown["@odata.context"] = json!(request.context(&context));
    request.note(world, effect);
    Ok(Reply::json(StatusCode::CREATED, &shown))
}

/// `PATCH …/federatedIdentityCredentials/{id}`.
pub(crate) fn update(request: &Request<'_>) -> Result<Reply, GraphError> {
    let sent = body::object(request.call)?;
    let world = &mut *request.service.world();
    let object = request.object_mut(world)?;
    let found = object
        .federated
        .iter_mut()
        .find(|it| it.history.present() && is_named(it, request))
        .ok_or_else(|| missing(request))?;
    let mut changed = found.clone();
    change(&mut changed, &sent, false)?;
    check_whole(&changed)?;
    *found = changed;
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

/// `DELETE …/federatedIdentityCredentials/{id}`.
pub(crate) fn delete(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = &mut *request.service.world();
    let object = request.object_mut(world)?;
    let client_id = object.app_id.to_string();
    let found = object
        .federated
        .iter_mut()
        .find(|it| it.history.present() && is_named(it, request))
        .ok_or_else(|| missing(request))?;
    found.history.removed = Some(request.seen.now);
    let effect = Effect::FederatedRemoved {
        client_id,
        id: found.id.to_string(),
    };
    request.note(world, effect);
    Ok(Reply::empty(StatusCode::NO_CONTENT))
}

fn change(
    credential: &mut Federated,
    sent: &Map<String, Value>,
    is_new: bool,
) -> Result<(), GraphError> {
    for (name, value) in sent {
        let text = || body::text(sent, name).map(Option::unwrap_or_default);
        match name.as_str() {
            "name" if is_new || value == credential.name.as_str() => credential.name = text()?,
            "issuer" => credential.issuer = text()?,
            "subject" => credential.subject = text()?,
            "description" => credential.description = body::text(sent, name)?,
            "audiences" => credential.audiences = audiences(value)?,
            other if other.starts_with("@odata.") => {}
            "id" | "name" => {
                return Err(GraphError::invalid(format!(
                    "Property '{name}' is read-only and cannot be set."
                )));
            }
            other => {
                return Err(GraphError::bad_request(format!(
                    "The property '{other}' does not exist on type 'microsoft.graph.federatedIdentityCredential'."
                )));
            }
        }
    }
    Ok(())
}

fn audiences(value: &Value) -> Result<Vec<String>, GraphError> {
    let list = value.as_array().into_iter().flatten();
    let texts: Option<Vec<String>> = list.map(|it| it.as_str().map(str::to_owned)).collect();
    texts.filter(|texts| texts.len() == 1).ok_or_else(|| {
        GraphError::invalid("The property 'audiences' must hold exactly one audience.")
    })
}

fn check_whole(credential: &Federated) -> Result<(), GraphError> {
    let lengths = [
        ("name", credential.name.chars().count(), 3, 120),
        ("issuer", credential.issuer.chars().count(), 1, 600),
        ("subject", credential.subject.chars().count(), 1, 600),
        ("audiences", credential.audiences.len(), 1, 1),
    ];
    match lengths
        .iter()
        .find(|(_, length, least, most)| !(least..=most).contains(&length))
    {
        Some((name, ..)) => Err(GraphError::invalid(format!(
            "Invalid value specified for property '{name}' of resource 'FederatedIdentityCredential'."
        ))),
        None => Ok(()),
    }
}

fn is_named(credential: &Federated, request: &Request<'_>) -> bool {
    match &request.operation.part {
        Some(Key::Id(id)) => {
            credential.id.to_string().eq_ignore_ascii_case(id) || credential.name == *id
        }
        Some(Key::Named(name, value)) => name == "name" && credential.name == *value,
        None => false,
    }
}

fn missing(request: &Request<'_>) -> GraphError {
    GraphError::not_found(
        request
            .operation
            .part
            .as_ref()
            .map_or("", |part| part.value()),
    )
}

fn shown(credential: &Federated) -> Value {
    json!({
        "id": credential.id, "name": credential.name, "issuer": credential.issuer,
        "subject": credential.subject, "audiences": credential.audiences,
        "description": credential.description,
    })
}

const MOST: usize = 20;
