use chrono::{DateTime, Utc};
use http::StatusCode;
use serde_json::json;
use uuid::Uuid;

use super::{GraphError, Request, render};
use crate::behaviour::ConflictAnswer;
use crate::call::Reply;
use crate::directory::Kind;
use crate::world::World;

/// `GET /applications/{id}` and its relatives.
pub(crate) fn get(request: &Request<'_>) -> Result<Reply, GraphError> {
    let world = request.service.world();
    let kind = request.operation.kind.unwrap_or(Kind::Application);
    let names = render::selection(kind, request.call.query.get("$select"))?;
    let with_keys = names
        .as_ref()
        .is_some_and(|it| it.contains(&"keyCredentials"));
    let object = request.object(&world)?;
    let mut shown = render::object(object, &world.behaviours, request.seen, with_keys);
    render::select(&mut shown, names.as_deref());
    let selected = names.map_or_else(String::new, |names| format!("({})", names.join(",")));
    let context = format!("{}{selected}/$entity", kind.collection());
    shown.insert(
        "@odata.context".to_owned(),
        json!(request.context(&context)),
    );
    Ok(Reply::json(StatusCode::OK, &shown))
}

/// Refuses a write when it comes too close to another one, or by chance.
pub(crate) fn conflict(
    world: &mut World,
    tenant: Uuid,
    object: Uuid,
    now: DateTime<Utc>,
) -> Result<(), GraphError> {
    let rules = world.behaviours.concurrency.clone();
    let last = world
        .directory
        .tenants
        .get(&tenant)
        .and_then(|tenant| tenant.objects.get(&object)?.written);
    let close = last.is_some_and(|last| now - last < rules.spacing);
    if !close && !world.draws.chance(rules.probability) {
        return Ok(());
    }
    let answer = match rules.answer {
        ConflictAnswer::Mixed => match world.draws.below(3) {
            0 => ConflictAnswer::BadRequest,
            1 => ConflictAnswer::Conflict,
            _ => ConflictAnswer::Unavailable,
        },
        other => other,
    };
    let text =
        "Error due to concurrent requests being made to the tenant. Please wait briefly and retry.";
    Err(match answer {
        ConflictAnswer::BadRequest => GraphError::invalid(text),
        ConflictAnswer::Unavailable => GraphError::new(503, "Directory_ConcurrencyViolation", text),
        _ => GraphError::new(409, "Directory_ConcurrencyViolation", text),
    })
}
