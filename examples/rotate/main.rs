//! Rotates the client secret of one connection, against Azure, the emulator, or any server that speaks
//! the protocol.
//!
//! ```console
//! $ AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_SECRET=… cargo run --example rotate
//! ```
//!
//! The first run creates the connection, validates it, and does the first rotation, which revokes the
//! secret that was given. Later runs resume what is unfinished, and begin a rotation when one is due or
//! asked for with `--now`. Killed at any point and run again, it goes on where it was.
//!
//! Standard output: one JSON object a line for each event, the status last. Standard error: sentences.
//! Exit status: 0 confirmed · 3 not confirmed yet, run it again · 1 failed, with the next step to take ·
//! 2 bad configuration, nothing was touched.

mod config;
mod end;
mod flags;
mod report;
mod setup;

use std::process::ExitCode;

use clap::Parser;
use keywheel::connection::{Actor, Connection};
use keywheel::core::{Clock, Report, SystemClock, TokenCredential, TokenRequest};
use keywheel::rotation::{RotateErrorKind, Status, Waiting};

use crate::config::Config;
use crate::end::{End, Result};
use crate::flags::Flags;
use crate::setup::Session;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(end) => {
            report::say(&end.to_string());
            end.code()
        }
    }
}

async fn run(flags: &Flags) -> Result<()> {
    let session = setup::open(&Config::read(flags)?, flags).await?;
    if flags.token {
        show_token(&session).await?;
    } else if !flags.status {
        session.apply(flags).await?;
        request(&session, flags).await?;
        drive(&session, flags).await?;
    }
    let status = session.status().await?;
    report::status(&status);
    if flags.status || flags.token {
        Ok(())
    } else {
        verdict(&status)
    }
}

/// Asks for a rotation if the flags do.
async fn request(session: &Session, flags: &Flags) -> Result<()> {
    let Some(cause) = flags.cause() else {
        return Ok(());
    };
    let actor = Actor::named("rotate");
    let connections = session.keywheel.connections();
    let requested = connections.rotate_now(session.id, cause, &actor).await;
    if requested.map_err(End::failed)?.joined {
        report::say("a rotation is in progress already; going on with that one");
    }
    Ok(())
}

/// Makes step after step until nothing is unfinished or the deadline comes.
async fn drive(session: &Session, flags: &Flags) -> Result<()> {
    let deadline = SystemClock::new().now() + flags.deadline;
    let settled = |connection: &Connection| session.status_of(connection).is_settled();
    let rotator = session.keywheel.rotator();
    let driven = tokio::select! {
        driven = rotator.drive(session.id, deadline, settled) => driven,
        () = setup::interrupted() => return Err(End::Pending("interrupted".to_owned())),
    };
    match driven {
        Ok(Some(Waiting::Lease)) => report::say("another process works on the connection"),
        Err(error) if error.kind() == RotateErrorKind::LeaseLost => {
            report::say(&Report(&error).to_string());
        }
        Err(error) if error.is_transient() => {
            return Err(End::Pending(Report(&error).to_string()));
        }
        Err(error) => return Err(End::failed(error)),
        Ok(_) => {}
    }
    Ok(())
}

/// Obtains a token through the stored connection, and shows when it ends, never the token.
async fn show_token(session: &Session) -> Result<()> {
    let credential = session.keywheel.credential(session.id).await;
    let credential = credential.map_err(End::failed)?;
    let stored = session.load().await?;
    let request = TokenRequest::new(stored.cloud.graph_scope());
    let token = credential.get_token(&request).await.map_err(End::failed)?;
    report::token(&stored, token.expires_on);
    Ok(())
}

fn verdict(status: &Status) -> Result<()> {
    match &status.trouble {
        _ if status.is_settled() => Ok(()),
        Some(trouble) if trouble.kind.needs_a_person() => Err(End::Failed(trouble.message.clone())),
        Some(trouble) => Err(End::Pending(trouble.message.clone())),
        None => Err(End::Pending(report::waiting(status))),
    }
}
