//! The emulator as a program: listens on a fixed port and writes what clients need into a folder.

mod files;
mod options;

use std::collections::BTreeSet;
use std::process::ExitCode;

use clap::Parser as _;
use keywheel_emulator::Emulator;

use self::files::Files;
use self::options::Options;

#[tokio::main]
async fn main() -> ExitCode {
    let options = Options::parse();
    match run(&options).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("keywheel-emulator: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

async fn run(options: &Options) -> Result<(), Failure> {
    let files = Files::at(&options.dir)?;
    let emulator = options.builder(&files)?.start().await?;
    files.write(&emulator)?;
    println!(
        "keywheel-emulator ready: login {} graph {} files {}",
        emulator.authority(),
        emulator.graph(),
        options.dir.display()
    );
    eprintln!("{}", files.usage(&emulator));
    stopped(options, &emulator).await?;
    if let Some(state) = &options.state {
        emulator.snapshot().write(state)?;
    }
    emulator.stop().await;
    Ok(())
}

/// Waits for SIGINT or SIGTERM, and shows requests meanwhile when that is wanted.
async fn stopped(options: &Options, emulator: &Emulator) -> Result<(), Failure> {
    let signal = signal()?;
    tokio::pin!(signal);
    let mut shown = BTreeSet::new();
    loop {
        tokio::select! {
            () = &mut signal => return Ok(()),
            () = tokio::time::sleep(std::time::Duration::from_millis(100)), if options.log => {
                show_new(emulator, &mut shown)?;
            }
        }
    }
}

/// Shows the requests that are not shown yet. One that came early may be answered late: a fault delayed it.
fn show_new(emulator: &Emulator, shown: &mut BTreeSet<u64>) -> Result<(), Failure> {
    const LATEST: u64 = 1000;
    let floor = shown.last().map_or(0, |last| last.saturating_sub(LATEST));
    for request in emulator.requests_after(floor) {
        if shown.insert(request.number) {
            eprintln!("{}", serde_json::to_string(&request)?);
        }
    }
    *shown = shown.split_off(&floor);
    Ok(())
}

#[cfg(unix)]
fn signal() -> Result<impl Future<Output = ()>, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}

#[cfg(not(unix))]
fn signal() -> Result<impl Future<Output = ()>, Failure> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Writes an error and what caused it on one line.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    let lines: Vec<String> = causes.map(ToString::to_string).collect();
    lines.join(": ")
}
