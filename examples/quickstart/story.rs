//! What happens, in words, and where the time went.

use chrono::{DateTime, TimeDelta, Utc};
use keywheel::connection::{Entry, EventKind, EventSink};
use keywheel::schedule::Schedule;
use tokio::time::{Duration, Instant};

/// Tells each event as it is committed.
#[derive(Debug)]
pub(crate) struct Story(pub(crate) Schedule);

impl EventSink for Story {
    fn committed(&self, entries: &[Entry]) {
        for entry in entries {
            if let Ok(event) = entry.event()
                && let Some(line) = self.tell(&event.kind)
            {
                println!("  {line}");
            }
        }
    }
}

impl Story {
    fn tell(&self, event: &EventKind) -> Option<String> {
        Some(match event {
        EventKind::ConnectionCreated { .. } => {
            "validated   a token was obtained and the application read; the connection is stored".to_owned()
        }
        EventKind::Intent { generation, .. } => {
            format!("intent      to mint secret {generation}, stored before anything is sent")
        }
        EventKind::Minted { key_id, end, .. } => {
            let end = end.map(|end| end.format("%F").to_string()).unwrap_or_default();
            format!("minted      key id {key_id}, valid until {end}; stored, sealed")
        }
        EventKind::ProofRefused { .. } => {
            "waiting     not every replica of Entra knows it yet".to_owned()
        }
        EventKind::Proved { proofs, wanted, .. } => {
            format!("proven      {proofs} of {wanted}: a fresh token with exactly this secret")
        }
        EventKind::Promoted { generation, revoke_at, .. } => format!(
            "promoted    secret {generation} is the current one; the one before is revoked at {}",
            clock_time(*revoke_at)
        ),
        EventKind::Revoked { key_id, .. } => format!("revoked     key id {key_id}"),
        EventKind::Confirmed { next, .. } => {
            format!("confirmed   {}", self.next_run(*next))
        }
        EventKind::Failed { trouble, .. } => format!("failed      {}", trouble.message),
        _ => return None,
    })
    }

    /// In the words of the schedule: local time, UTC, and what the clock change does to it.
    fn next_run(&self, next: Option<DateTime<Utc>>) -> String {
        let before = next.map(|next| next - TimeDelta::seconds(1));
        match before.and_then(|before| self.0.next_after(before)) {
            Some(run) => format!("next run {run}"),
            None => "no next run".to_owned(),
        }
    }
}

fn clock_time(at: DateTime<Utc>) -> String {
    at.format("%F %H:%M UTC").to_string()
}

/// Where the time went.
pub(crate) struct Timing {
    started: Instant,
    last: Instant,
    laps: Vec<(&'static str, Duration)>,
}

impl Timing {
    pub(crate) fn start() -> Self {
        let now = Instant::now();
        Self {
            started: now,
            last: now,
            laps: Vec::new(),
        }
    }

    pub(crate) fn lap(&mut self, name: &'static str) {
        let now = Instant::now();
        self.laps.push((name, now - self.last));
        self.last = now;
    }

    pub(crate) fn print(&self) {
        println!("\nWhere the time went");
        for (name, time) in &self.laps {
            println!("  {:>7.1} ms  {name}", time.as_secs_f64() * 1e3);
        }
        println!(
            "  {:>7.1} ms  in all",
            self.started.elapsed().as_secs_f64() * 1e3
        );
    }
}
