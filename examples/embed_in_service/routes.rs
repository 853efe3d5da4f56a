//! What the service answers.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use keywheel::Keywheel;
use keywheel::connection::{
    Actor, Cause, ConnectionId, ConnectionStore, Namespace, Page, Versioned,
};
use keywheel::core::Report;
use keywheel::rotation::{Status, WorkerHealth, WorkerMonitor};
use metrics_exporter_prometheus::PrometheusHandle;
use serde_json::{Value, json};
use tokio::time::{Duration, Instant, sleep};

use crate::{PATIENCE, Result};

const LOOK: Duration = Duration::from_millis(100);

/// What the routes share.
#[derive(Clone)]
pub(crate) struct Service {
    keywheel: Keywheel,
    store: Arc<dyn ConnectionStore>,
    monitor: WorkerMonitor,
    metrics: PrometheusHandle,
}

type Answer<T> = std::result::Result<T, (StatusCode, String)>;

impl Service {
    pub(crate) fn new(
        keywheel: Keywheel,
        store: Arc<dyn ConnectionStore>,
        monitor: WorkerMonitor,
        metrics: PrometheusHandle,
    ) -> Self {
        Self {
            keywheel,
            store,
            monitor,
            metrics,
        }
    }

    pub(crate) fn routes(self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/metrics", get(metrics))
            .route("/connections", get(connections))
            .route("/connections/{name}", get(connection))
            .route("/connections/{name}/rotate", post(rotate))
            .with_state(self)
    }

    async fn find(&self, name: &str) -> Answer<ConnectionId> {
        let absent = || {
            (
                StatusCode::NOT_FOUND,
                format!("there is no connection called {name:?}"),
            )
        };
        let name = name.parse().map_err(|_| absent())?;
        let found = self.store.find(&Namespace::default(), &name).await;
        found
            .map_err(unavailable)?
            .map(|stored| stored.connection.id)
            .ok_or_else(absent)
    }

    async fn status(&self, id: ConnectionId) -> Answer<Status> {
        self.keywheel
            .connections()
            .status(id)
            .await
            .map_err(unavailable)
    }

    /// Waits for the first rotation, asks for another one, waits for that, and shows what the routes say.
    pub(crate) async fn check(&self, id: ConnectionId) -> Result<()> {
        let name = self.settled(id, 1).await?.name;
        println!("{name}: the secret that it was created with is replaced and revoked");
        let asked = rotate(State(self.clone()), Path(name.to_string())).await;
        println!("POST rotate   {}", asked.map_err(said)?.0);
        let status = self.settled(id, 2).await?;
        println!("GET {name}   {}", serde_json::to_string(&status)?);
        let (code, Json(health)) = healthz(State(self.clone())).await;
        println!("GET healthz   {code} {}", serde_json::to_string(&health)?);
        let shown = self.counted(2).await?;
        let rotations = |line: &&str| line.starts_with("keywheel_rotations_total");
        for line in shown.lines().filter(rotations) {
            println!("GET metrics   {line}");
        }
        Ok(())
    }

    /// What is saved is counted a moment later.
    async fn counted(&self, rotations: usize) -> Result<String> {
        let wanted = format!("keywheel_rotations_total{{outcome=\"confirmed\"}} {rotations}");
        let begun = Instant::now();
        loop {
            let shown = metrics(State(self.clone())).await;
            if shown.contains(&wanted) {
                return Ok(shown);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("the metrics have not counted {rotations} rotations").into());
            }
            sleep(LOOK).await;
        }
    }

    async fn settled(&self, id: ConnectionId, generation: u64) -> Result<Status> {
        let begun = Instant::now();
        loop {
            let status = self.status(id).await.map_err(said)?;
            if status.is_settled() && status.generation >= generation {
                return Ok(status);
            }
            if begun.elapsed() > PATIENCE {
                return Err(format!("not rotated in time: {status:?}").into());
            }
            sleep(LOOK).await;
        }
    }
}

async fn healthz(State(service): State<Service>) -> (StatusCode, Json<WorkerHealth>) {
    let health = service.monitor.health();
    let code = if health.is_well() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, Json(health))
}

async fn metrics(State(service): State<Service>) -> String {
    service.metrics.render()
}

/// The first hundred: a real service has pages.
async fn connections(State(service): State<Service>) -> Answer<Json<Vec<Status>>> {
    let listed = service
        .store
        .list(Page::of_all(100))
        .await
        .map_err(unavailable)?;
    let mut statuses = Vec::with_capacity(listed.len());
    for Versioned { connection, .. } in listed {
        statuses.push(service.status(connection.id).await?);
    }
    Ok(Json(statuses))
}

async fn connection(
    State(service): State<Service>,
    Path(name): Path<String>,
) -> Answer<Json<Status>> {
    let id = service.find(&name).await?;
    service.status(id).await.map(Json)
}

/// A real service asks first who that is.
async fn rotate(State(service): State<Service>, Path(name): Path<String>) -> Answer<Json<Value>> {
    let id = service.find(&name).await?;
    let actor = Actor::named("POST rotate");
    let connections = service.keywheel.connections();
    let requested = connections.rotate_now(id, Cause::Manual, &actor).await;
    let requested = requested.map_err(unavailable)?;
    Ok(Json(
        json!({ "rotation": requested.rotation, "joined": requested.joined }),
    ))
}

fn unavailable(error: impl std::error::Error) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, Report(&error).to_string())
}

fn said((code, text): (StatusCode, String)) -> String {
    format!("{code}: {text}")
}
