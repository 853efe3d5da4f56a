use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use keywheel_core::{KeyId, retry_after};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep};

use crate::application;
use crate::call::{Call, Path, Repeat, Target};
use crate::error::Body;
use crate::traffic::{Lane, Turn};
use crate::{ApplicationKey, GraphClient, GraphError};

/// Requests that are sent together, twenty at a time.
///
/// Each is answered on its own, and sent again on its own under the same rules as if it had been sent
/// alone: those that were throttled or met trouble go into the next round. The order of the answers is that
/// of the requests. <https://learn.microsoft.com/graph/json-batching>
#[derive(Debug)]
pub struct Batch<'a> {
    graph: &'a GraphClient,
    calls: Vec<Call>,
}

/// Where in a batch's answers a request's answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHandle(usize);

/// The answers to a batch.
#[derive(Debug)]
pub struct BatchAnswer(Vec<Result<Value, GraphError>>);

/// How many requests Graph takes at once.
const MOST: usize = 20;

impl<'a> Batch<'a> {
    pub(crate) fn new(graph: &'a GraphClient) -> Self {
        Self {
            graph,
            calls: Vec::new(),
        }
    }

    /// Adds reading an application and its client secrets: an [`Application`](crate::Application).
    pub fn get_application(&mut self, key: impl Into<ApplicationKey>) -> BatchHandle {
        self.push(application::get(&key.into()))
    }

    /// Adds reading these properties of an application, as Graph names them. `id` and `appId` must be among
    /// them.
    pub fn get_application_with(
        &mut self,
        key: impl Into<ApplicationKey>,
        properties: &[&str],
    ) -> BatchHandle {
        self.push(application::get_with(&key.into(), properties))
    }

    /// Adds reading an application's owners: a [`Page`](crate::Page) of them, as
    /// [`BatchAnswer::page`] returns it.
    pub fn owners(&mut self, key: impl Into<ApplicationKey>) -> BatchHandle {
        self.push(application::owners(&key.into()))
    }

    /// Adds removing a client secret. Writes to one application had better not be in one batch: they meet
    /// each other.
    pub fn remove_password(
        &mut self,
        key: impl Into<ApplicationKey>,
        key_id: &KeyId,
    ) -> BatchHandle {
        self.push(application::remove_password(&key.into(), key_id))
    }

    /// Adds reading what is at `path`, below the version: `["users", id]`.
    pub fn read(&mut self, path: &[&str]) -> BatchHandle {
        let encoded: Vec<String> = path.iter().map(|part| Path::encode(part)).collect();
        let encoded: Vec<&str> = encoded.iter().map(String::as_str).collect();
        self.push(Call::read("batched", Path::of(&encoded)))
    }

    fn push(&mut self, call: Call) -> BatchHandle {
        self.calls.push(call);
        BatchHandle(self.calls.len() - 1)
    }

    /// Sends the requests. What became of each is in the answer.
    ///
    /// # Errors
    ///
    /// Never as a whole: a batch that could not be sent is an error of each of its requests.
    pub async fn send(self) -> BatchAnswer {
        let mut answers = Vec::with_capacity(self.calls.len());
        for calls in self.calls.chunks(MOST) {
            answers.extend(self.graph.together(calls).await);
        }
        BatchAnswer(answers)
    }
}

impl BatchAnswer {
    /// Takes the answer to one request out.
    ///
    /// # Errors
    ///
    /// Returns the request's error; and one that says so when the answer was taken out before.
    pub fn take<T: DeserializeOwned>(&mut self, handle: BatchHandle) -> Result<T, GraphError> {
        let taken = GraphError::protocol("this answer was taken out of the batch before");
        let answer = self.0.get_mut(handle.0);
        let value = answer.map_or(Err(taken), |answer| {
            std::mem::replace(
                answer,
                Err(GraphError::protocol(
                    "this answer was taken out of the batch before",
                )),
            )
        })?;
        serde_json::from_value(value)
            .map_err(|_| GraphError::protocol("Microsoft Graph's answer can't be read; report it"))
    }

    /// Takes the list that answers one request out.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub fn page<T: DeserializeOwned>(&mut self, handle: BatchHandle) -> Result<Vec<T>, GraphError> {
        #[derive(Deserialize)]
        struct List<T> {
            value: Vec<T>,
        }
        self.take::<List<T>>(handle).map(|list| list.value)
    }
}

impl GraphClient {
    /// Sends up to twenty calls in rounds, until each has its answer or may not be sent again.
    async fn together(&self, calls: &[Call]) -> Vec<Result<Value, GraphError>> {
        let _turns = self.turns(calls).await;
        let started = Instant::now();
        let mut answers: Vec<Option<Result<Value, GraphError>>> =
            calls.iter().map(|_| None).collect();
        let mut open: Vec<usize> = (0..calls.len()).collect();
        let (mut attempts, mut wait) = (0, Duration::ZERO);
        while !open.is_empty() {
            attempts += 1;
            let sent: Vec<(usize, &Call)> =
                open.iter().map(|&place| (place, &calls[place])).collect();
            let mut round = self.round(&sent).await;
            let mut asked = None;
            open.retain(|&place| {
                let answer = round
                    .remove(&place)
                    .unwrap_or_else(|| Err(missing(&calls[place])));
                let answer = answer.map_err(|error| error.after(attempts));
                let again = answer.as_ref().err().is_some_and(|error| {
                    asked = asked.max(error.retry_after());
                    calls[place].repeat.allows(error)
                });
                answers[place] = Some(answer);
                again
            });
            let next = self
                .retry()
                .wait(attempts, started.elapsed(), wait, asked, self.entropy());
            match next {
                Some(next) if !open.is_empty() => {
                    wait = next;
                    tracing::debug!(attempts, ?wait, open = open.len(), "graph.batch_retry");
                    sleep(wait).await;
                }
                _ => break,
            }
        }
        let all = answers.into_iter().zip(calls);
        all.map(|(answer, call)| answer.unwrap_or_else(|| Err(missing(call))))
            .collect()
    }

    /// Waits for the turn of each write, in an order that two batches share.
    async fn turns(&self, calls: &[Call]) -> Vec<Turn> {
        let lanes: BTreeSet<&Lane> = calls.iter().filter_map(|call| call.lane.as_ref()).collect();
        let mut turns = Vec::with_capacity(lanes.len());
        for lane in lanes {
            turns.push(self.traffic().turn(lane).await);
        }
        turns
    }

    /// Sends the calls once.
    async fn round(&self, calls: &[(usize, &Call)]) -> HashMap<usize, Result<Value, GraphError>> {
        let call = envelope(calls);
        let sent = self.json::<Responses>(&call).await;
        match sent {
            Ok(sent) => {
                let read = |response: Response| {
                    let place = response.id.parse().ok()?;
                    let (_, call) = calls.iter().find(|(known, _)| *known == place)?;
                    Some((place, self.read(call, response)))
                };
                sent.responses.into_iter().filter_map(read).collect()
            }
            Err(error) => {
                let error = Arc::new(error);
                let failed = calls.iter().map(|(place, call)| {
                    let error = GraphError::of_batch(&error);
                    (
                        *place,
                        Err(if call.is_read() {
                            error.without_effect()
                        } else {
                            error
                        }),
                    )
                });
                failed.collect()
            }
        }
    }

    fn read(&self, call: &Call, response: Response) -> Result<Value, GraphError> {
        let status = StatusCode::from_u16(response.status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = headers(&response.headers);
        self.traffic().heed(status, &headers);
        if status.is_success() {
            return Ok(response.body);
        }
        let asked = retry_after(&headers, self.now());
        let error = GraphError::answered(status, Body::of(&response.body), asked);
        Err(if call.is_read() {
            error.without_effect()
        } else {
            error
        })
    }
}

/// An answer that is missing leaves open whether the request was carried out.
fn missing(call: &Call) -> GraphError {
    let error = GraphError::unreadable(StatusCode::OK, &HeaderMap::new());
    if call.is_read() {
        error.without_effect()
    } else {
        error
    }
}

fn envelope(calls: &[(usize, &Call)]) -> Call {
    let requests: Vec<Request<'_>> = calls
        .iter()
        .map(|(place, call)| Request::of(*place, call))
        .collect();
    let path = Path::of(&["$batch"]);
    let mut envelope = Call::post("batch", path, &serde_json::json!({ "requests": requests }));
    envelope.repeat = Repeat::Never;
    envelope.units = calls.iter().map(|(_, call)| call.units).sum();
    envelope
}

#[derive(Serialize)]
struct Request<'c> {
    id: String,
    method: &'c str,
    url: &'c str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    headers: Map<String, Value>,
    #[serde(skip_serializing_if = "Value::is_null")]
    body: Value,
}

impl<'c> Request<'c> {
    fn of(place: usize, call: &'c Call) -> Self {
        let (Target::Path(url) | Target::Link(url)) = &call.target;
        let mut headers = Map::new();
        if call.method != Method::GET {
            headers.insert("Content-Type".to_owned(), "application/json".into());
        }
        Self {
            id: place.to_string(),
            method: call.method.as_str(),
            url,
            headers,
            body: body(&call.body),
        }
    }
}

fn body(bytes: &Bytes) -> Value {
    serde_json::from_slice(bytes).unwrap_or_default()
}

#[derive(Deserialize)]
struct Responses {
    responses: Vec<Response>,
}

#[derive(Deserialize)]
struct Response {
    id: String,
    status: u16,
    #[serde(default, deserialize_with = "crate::wire::nullable")]
    headers: Map<String, Value>,
    #[serde(default)]
    body: Value,
}

fn headers(map: &Map<String, Value>) -> HeaderMap {
    let pairs = map.iter().filter_map(|(name, value)| {
        let text = match value {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let name: HeaderName = name.parse().ok()?;
        Some((name, HeaderValue::from_str(&text).ok()?))
    });
    pairs.collect()
}
