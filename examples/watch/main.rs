//! Many connections, rotating against an emulator on which things go wrong: a view for the terminal.
//!
//! ```console
//! $ cargo run --example watch
//! $ cargo run --example watch -- --no-tty --rotations 40
//! ```
//!
//! Every connection is rotated when it is made. After that one of them is rotated every now and then, as
//! if its day had come. One call in twenty fails: connections are reset before and after the call took
//! effect, answers are cut off, Graph is busy, and new secrets are known after seconds.

mod place;
mod view;

use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use keywheel::connection::{Actor, Cause};
use keywheel::core::Report;
use keywheel::rotation::{Status, WorkerOptions};
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::place::Place;
use crate::view::View;

type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// Shows many connections that rotate.
#[derive(Debug, Parser)]
struct Flags {
    /// How many connections; the default fits a terminal of 24 lines
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    connections: u32,
    /// Write lines instead of drawing; so it is, too, when standard output is no terminal
    #[arg(long)]
    no_tty: bool,
    /// Begin so many rotations, the first ones of the connections included, and end with the last
    #[arg(long)]
    rotations: Option<u64>,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {}", Report(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<()> {
    let place = Place::start(flags.connections).await?;
    let mut view = View::new(flags.no_tty);
    let mut options = WorkerOptions::default();
    options.poll = Duration::from_millis(250);
    let (stop, stopped) = oneshot::channel::<()>();
    let worker = place.keywheel.worker().options(options);
    let working = tokio::spawn(worker.run(async {
        drop(stopped.await);
    }));

    let watched = tokio::select! {
        watched = watch(&place, &mut view, flags.rotations) => watched,
        pressed = tokio::signal::ctrl_c() => pressed.map_err(Into::into),
    };
    drop(stop);
    let ended = working.await?;
    view.end(&place.faults());
    println!(
        "worker ended: {} handed over, {} abandoned",
        ended.parked, ended.abandoned
    );
    watched
}

async fn watch(place: &Place, view: &mut View, rotations: Option<u64>) -> Result<()> {
    let mut asked = 0;
    for turn in 0_usize.. {
        let statuses = place.statuses().await?;
        view.show(&statuses)?;
        // The first one of each connection nobody asks for.
        let enough = rotations.is_some_and(|wanted| statuses.len() as u64 + asked >= wanted);
        if enough && statuses.iter().all(Status::is_settled) {
            return Ok(());
        }
        // As if the day of this one had come.
        let next = &statuses[turn % statuses.len()];
        if !enough && next.is_settled() {
            let actor = Actor::named("watch");
            let connections = place.keywheel.connections();
            connections
                .rotate_now(next.connection, Cause::Manual, &actor)
                .await?;
            asked += 1;
        }
        sleep(Duration::from_millis(250)).await;
    }
    Ok(())
}
