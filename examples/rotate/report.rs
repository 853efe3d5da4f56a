//! JSON lines on standard output, sentences on standard error.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use keywheel::connection::{Connection, Entry, EventKind, EventSink};
use keywheel::core::{Clock, SystemClock};
use keywheel::rotation::{Status, Waiting};
use serde_json::{Value, json};

/// Prints each event as it is committed.
#[derive(Debug)]
pub(crate) struct Lines;

impl EventSink for Lines {
    fn committed(&self, entries: &[Entry]) {
        for entry in entries {
            line(&entry.body);
            if let Ok(event) = entry.event()
                && let Some(sentence) = sentence(&event.kind)
            {
                say(&sentence);
            }
        }
    }
}

/// The status, the last line.
pub(crate) fn status(status: &Status) {
    let mut value = serde_json::to_value(status).unwrap_or_default();
    if let Value::Object(object) = &mut value {
        object.insert("event".to_owned(), "status".into());
        object.insert("at".to_owned(), json!(SystemClock::new().now()));
        object.insert("settled".to_owned(), status.is_settled().into());
    }
    line(&value.to_string());
    say(&summary(status));
}

pub(crate) fn token(connection: &Connection, expires_on: DateTime<Utc>) {
    let value = json!({
        "event": "token",
        "connection": connection.id,
        "name": connection.name,
        "at": SystemClock::new().now(),
        "expires_on": expires_on,
    });
    line(&value.to_string());
    say(&format!(
        "a Graph token was obtained; it ends at {}",
        time(expires_on)
    ));
}

/// What an unfinished rotation waits for.
pub(crate) fn waiting(status: &Status) -> String {
    let when = status
        .wake_at
        .map(|at| format!(" at {}", time(at)))
        .unwrap_or_default();
    match status.waiting {
        Some(Waiting::Grace) => format!("the replaced secret is revoked{when}"),
        Some(Waiting::Proof) => format!("the next proof of the new secret follows{when}"),
        Some(Waiting::Read) => {
            format!("it is not known yet whether a secret was minted; the next read follows{when}")
        }
        Some(Waiting::Retry) => format!("the last step is tried again{when}"),
        Some(Waiting::Sink) => format!("a sink gets the new secret{when}"),
        Some(Waiting::Paused) => "the rotation is paused".to_owned(),
        _ => format!("the next step follows{when}"),
    }
}

/// Writes a sentence for people.
pub(crate) fn say(sentence: &str) {
    // Nobody to tell is no reason to stop a rotation.
    let _ = writeln!(io::stderr(), "{sentence}");
}

fn line(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}

fn sentence(event: &EventKind) -> Option<String> {
    Some(match event {
        EventKind::ConnectionCreated { client_id, .. } => {
            format!("validated and stored the connection to application {client_id}")
        }
        EventKind::Intent { generation, .. } => {
            format!("about to mint secret {generation}; the intent is stored")
        }
        EventKind::Unresolved { settle_until, .. } => format!(
            "an earlier run stopped while minting: looking for a secret that nobody holds until {}",
            time(*settle_until)
        ),
        EventKind::Minted { key_id, .. } => format!("minted and stored secret {key_id}"),
        EventKind::Proved { proofs, wanted, .. } => {
            format!("proof {proofs} of {wanted}: a fresh token with exactly the new secret")
        }
        EventKind::ProofRefused { retry_at, .. } => {
            format!(
                "Entra does not accept the new secret yet; again at {}",
                time(*retry_at)
            )
        }
        EventKind::Quarantined { key_id, .. } => {
            format!("secret {key_id} was never accepted: it is removed, and another one minted")
        }
        EventKind::Promoted {
            key_id, revoke_at, ..
        } => format!(
            "promoted {key_id}: it is the current secret; the one before is revoked at {}",
            time(*revoke_at)
        ),
        EventKind::OrphanFound { key_id, .. } => {
            format!("found {key_id}, a secret of ours that nobody holds; removing it")
        }
        EventKind::Revoked { key_id, .. } => format!("revoked {key_id}"),
        EventKind::Confirmed { next, .. } => match next {
            Some(next) => format!("confirmed; the next rotation is due at {}", time(*next)),
            None => "confirmed".to_owned(),
        },
        EventKind::Failed { trouble, .. } => format!(
            "{} failed: {}; again at {}",
            trouble.step,
            trouble.message,
            time(trouble.retry_at)
        ),
        _ => return None,
    })
}

fn summary(status: &Status) -> String {
    let key_ids: Vec<_> = status
        .live_key_ids
        .iter()
        .map(ToString::to_string)
        .collect();
    let next = status.next_due.map_or_else(
        || "no next run".to_owned(),
        |at| format!("next run {}", time(at)),
    );
    format!(
        "connection {:?}: {:?}, secret {}, live key ids [{}], {} to be revoked, {next}",
        status.name.as_str(),
        status.health,
        status.generation,
        key_ids.join(", "),
        status.debts.len(),
    )
}

fn time(at: DateTime<Utc>) -> String {
    at.format("%F %H:%M:%S UTC").to_string()
}
