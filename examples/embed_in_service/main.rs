//! A backend that embeds keywheel: an axum service with a worker beside its routes.
//!
//! ```console
//! $ cargo run --example embed_in_service
//! ```
//!
//! Without configuration it talks to an emulator in its own process and forgets everything at its end.
//! `AZURE_TENANT_ID`, `AZURE_CLIENT_ID` and `AZURE_CLIENT_SECRET` make it talk to Azure, or to whatever
//! `AZURE_AUTHORITY_HOST` and `KEYWHEEL_GRAPH_ENDPOINT` name; `KEYWHEEL_DATABASE` is a SQLite path or a
//! `postgres://` URL, and `KEYWHEEL_SEALING_KEY` the key for it. Start it twice on one PostgreSQL: the two
//! share the work. Stop it at any time: what it was about to do is done after the next start.
//!
//! | route | |
//! |---|---|
//! | `GET /healthz` | 200 while the worker runs and the store answers, else 503: for a readiness probe |
//! | `GET /metrics` | Prometheus |
//! | `GET /connections` | how each connection is |
//! | `GET /connections/{name}` | how one is |
//! | `POST /connections/{name}/rotate` | begins a rotation, or joins the one in progress |

mod place;
mod routes;

use std::error::Error;
use std::future::pending;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use keywheel::core::{Report, TokenCredential, TokenRequest};
use keywheel::rotation::{TracingEvents, describe_metrics};
use metrics_exporter_prometheus::PrometheusBuilder;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::place::Place;
use crate::routes::Service;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// A backend that embeds keywheel.
#[derive(Debug, Parser)]
struct Flags {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Rotate twice, show what the routes say, and end
    #[arg(long)]
    check: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .init();
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {}", Report(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<()> {
    let metrics = PrometheusBuilder::new()
        .set_buckets(&[0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0])?
        .install_recorder()?;
    describe_metrics();
    let place = Place::open().await?;
    let id = place.connect().await?;

    // Everything that runs beside the routes ends when this says so.
    let (stop, stopped) = watch::channel(false);
    let worker = place.keywheel.worker();
    let service = Service::new(
        place.keywheel.clone(),
        place.store.clone(),
        worker.monitor(),
        metrics,
    );
    let working = tokio::spawn(worker.run(until(stopped.clone())));
    let delivery = place
        .keywheel
        .delivery("log".parse()?, TracingEvents::new());
    let told = stopped.clone();
    let delivering = tokio::spawn(async move { delivery.run(until(told)).await });

    let listener = TcpListener::bind(flags.listen).await?;
    println!("http://{}", listener.local_addr()?);
    let serving =
        axum::serve(listener, service.clone().routes()).with_graceful_shutdown(until(stopped));
    let serving = tokio::spawn(async move { serving.await });

    // What the backend is for: tokens that follow the rotations.
    let credential = place.keywheel.credential(id).await?;
    if flags.check {
        service.check(id).await?;
        let scope = place.cloud.graph_scope();
        let token = credential.get_token(&TokenRequest::new(scope)).await?;
        println!(
            "a Graph token, valid until {}",
            token.expires_on.format("%F %T UTC")
        );
    } else {
        terminated().await?;
    }

    // The worker hands over what it holds, and the routes answer what they were asked.
    stop.send_replace(true);
    let ended = working.await?;
    delivering.await?;
    serving.await??;
    println!(
        "ended: {} handed over, {} abandoned",
        ended.parked, ended.abandoned
    );
    Ok(())
}

async fn until(mut stopped: watch::Receiver<bool>) {
    if stopped.wait_for(|stopped| *stopped).await.is_err() {
        pending::<()>().await;
    }
}

/// Waits for SIGTERM or Ctrl-C.
async fn terminated() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = terminate.recv() => {}
        pressed = tokio::signal::ctrl_c() => pressed?,
    }
    Ok(())
}

/// How long the check waits for a rotation.
const PATIENCE: Duration = Duration::from_mins(2);
