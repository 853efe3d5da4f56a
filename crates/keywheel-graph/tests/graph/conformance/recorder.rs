//! Keeps what goes over the wire to Graph.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use keywheel_core::{HttpSend, ReqwestSend, TransportError};
use keywheel_graph::Refusal;
use serde_json::Value;

use crate::script::{self, Script, client_id};

#[derive(Clone, Debug)]
pub(super) struct Exchange {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Vec<(String, String)>,
    pub(super) sent: Value,
    pub(super) status: u16,
    pub(super) answer: Value,
}

#[derive(Clone, Debug)]
pub(super) struct Recorder {
    inner: ReqwestSend,
    kept: Arc<Mutex<Vec<Exchange>>>,
}

impl Recorder {
    pub(super) fn over(inner: ReqwestSend) -> Self {
        Self {
            inner,
            kept: Arc::default(),
        }
    }

    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        self.kept.lock().unwrap().clone()
    }
}

#[async_trait]
impl HttpSend for Recorder {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let url: url::Url = request.uri().to_string().parse().unwrap();
        let (method, sent) = (request.method().to_string(), json(request.body()));
        let response = self.inner.send(request).await?;
        self.kept.lock().unwrap().push(Exchange {
            method,
            path: url.path().to_owned(),
            query: url.query_pairs().into_owned().collect(),
            sent,
            status: response.status().as_u16(),
            answer: json(response.body()),
        });
        Ok(response)
    }
}

fn json(body: &Bytes) -> Value {
    if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(body).unwrap()
    }
}

/// What a refusal with this code is recognised as, asked through the client.
pub(super) fn refusal(status: u16, code: &str) -> Option<Refusal> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(async {
        let script = Script::of([script::error(status, code, "")]);
        let failed = script::graph(&script).application(client_id()).get().await;
        failed.unwrap_err().refusal()
    })
}
