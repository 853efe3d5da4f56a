use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Map, Value, json};

use super::{GraphError, Request, body};
use crate::call::{Call, Reply};
use crate::dispatch::Asked;

/// `POST /$batch`: up to 20 requests, each answered on its own.
pub(crate) fn run(request: &Request<'_>) -> Result<Reply, GraphError> {
    let sent = body::object(request.call)?;
    let requests = sent
        .get("requests")
        .and_then(Value::as_array)
        .ok_or_else(|| GraphError::bad_request("Invalid batch payload format."))?;
    if requests.len() > MOST {
        return Err(GraphError::bad_request(format!(
            "Number of batch request steps exceeds the maximum value of {MOST}."
        )));
    }
    let steps = requests
        .iter()
        .map(Step::read)
        .collect::<Result<Vec<_>, _>>()?;
    check(&steps)?;
    let mut statuses = BTreeMap::new();
    let responses: Vec<Value> = steps
        .iter()
        .map(|step| {
            let (status, response) = step.carry_out(request, &statuses);
            statuses.insert(step.id.as_str(), status);
            response
        })
        .collect();
    Ok(Reply::json(
        StatusCode::OK,
        &json!({ "responses": responses }),
    ))
}

/// One request of a batch.
struct Step {
    id: String,
    method: Method,
    url: String,
    headers: Map<String, Value>,
    body: Option<Value>,
    depends_on: Vec<String>,
}

impl Step {
    fn read(sent: &Value) -> Result<Self, GraphError> {
        let text = |name: &str| {
            sent[name].as_str().map(str::to_owned).ok_or_else(|| {
                GraphError::bad_request(format!(
                    "Invalid batch payload format: '{name}' is missing."
                ))
            })
        };
        let url = text("url")?;
        let depends_on = sent["dependsOn"].as_array().into_iter().flatten();
        Ok(Self {
            id: text("id")?,
            method: text("method")?.to_ascii_uppercase().parse().map_err(|_| {
                GraphError::bad_request("Invalid batch payload format: 'method' is invalid.")
            })?,
            url: if url.starts_with('/') {
                url
            } else {
                format!("/{url}")
            },
            headers: sent["headers"].as_object().cloned().unwrap_or_default(),
            body: sent.get("body").filter(|body| !body.is_null()).cloned(),
            depends_on: depends_on
                .filter_map(|id| id.as_str().map(str::to_owned))
                .collect(),
        })
    }

    fn carry_out(&self, request: &Request<'_>, before: &BTreeMap<&str, u16>) -> (u16, Value) {
        let failed = self
            .depends_on
            .iter()
            .any(|id| before.get(id.as_str()).is_some_and(|status| *status >= 400));
        let reply = match self.call(request) {
            _ if failed => Err(GraphError::new(
                424,
                "FailedDependency",
                "A dependency failed.",
            )),
            Some(call) => self.ask(request, call),
            None => Err(GraphError::bad_request(
                "Invalid batch payload format: 'url' is invalid.",
            )),
        };
        let reply = reply.unwrap_or_else(|error| {
            let ids = crate::call::Ids::of(request.call);
            error.reply(ids, request.seen.now, &request.service.world().behaviours)
        });
        let mut response = json!({
            "id": self.id,
            "status": reply.status.as_u16(),
            "headers": shown_headers(&reply),
        });
        if !reply.body.is_empty() {
            response["body"] = serde_json::from_slice(&reply.body)
                .unwrap_or_else(|_| json!(STANDARD.encode(&reply.body)));
        }
        (reply.status.as_u16(), response)
    }

    fn ask(&self, request: &Request<'_>, call: Call) -> Result<Reply, GraphError> {
        if super::route(&call).route == crate::Route::Batch {
            return Err(GraphError::bad_request("A batch can't hold a batch."));
        }
        let service = request.service;
        let asked = Asked::new(service, call);
        let fault = asked.fault(service);
        let instead = fault
            .as_ref()
            .filter(|fault| !fault.after_effect)
            .and_then(|fault| asked.respond(service, &fault.action));
        let reply = instead.unwrap_or_else(|| asked.answer(service));
        asked.record(service, Some(&reply), fault.as_ref());
        Ok(reply)
    }

    /// Builds the request as if it had come alone. The token is the batch's.
    fn call(&self, request: &Request<'_>) -> Option<Call> {
        let outer = request.call;
        let path = format!("{}/v1.0{}", request.operation.prefix, self.url);
        let mut built = http::Request::builder()
            .method(self.method.clone())
            .uri(path);
        let headers = built.headers_mut()?;
        for (name, value) in &self.headers {
            let name = name.parse::<HeaderName>().ok()?;
            headers.insert(name, HeaderValue::from_str(value.as_str()?).ok()?);
        }
        for name in [AUTHORIZATION, HOST] {
            if let Some(value) = outer.headers.get(&name) {
                headers.insert(name, value.clone());
            }
        }
        let body = self.body.as_ref().map(|body| match body {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        });
        let (parts, ()) = built.body(()).ok()?.into_parts();
        let body = Bytes::from(body.unwrap_or_default());
        Some(Call::new(&parts, body, &outer.origin, outer.surface))
    }
}

fn check(steps: &[Step]) -> Result<(), GraphError> {
    for (place, step) in steps.iter().enumerate() {
        let earlier = &steps[..place];
        if earlier.iter().any(|it| it.id == step.id) {
            return Err(GraphError::bad_request(format!(
                "Request Id '{}' has to be unique in a batch.",
                step.id
            )));
        }
        if let Some(id) = step
            .depends_on
            .iter()
            .find(|id| !earlier.iter().any(|it| it.id == **id))
        {
            return Err(GraphError::bad_request(format!(
                "Request '{}' depends on '{id}', which is not an earlier request of the batch.",
                step.id
            )));
        }
    }
    Ok(())
}

fn shown_headers(reply: &Reply) -> Value {
    let wanted = [
        CONTENT_TYPE,
        http::header::LOCATION,
        http::header::RETRY_AFTER,
    ];
    let headers = wanted.iter().filter_map(|name| {
        let value = reply.headers.get(name)?.to_str().ok()?;
        Some((title(name), json!(value)))
    });
    Value::Object(headers.collect())
}

/// Writes a header's name as Graph does: `Content-Type`.
fn title(name: &HeaderName) -> String {
    let parts = name.as_str().split('-').map(|part| {
        let (first, rest) = part.split_at(1);
        first.to_ascii_uppercase() + rest
    });
    parts.collect::<Vec<_>>().join("-")
}

const MOST: usize = 20;
