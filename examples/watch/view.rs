//! The view: a table that is drawn again and again, or lines.

use std::collections::HashMap;
use std::fmt::Write;
use std::io::{IsTerminal, Write as _, stdout};

use keywheel::connection::{ConnectionId, DebtReason};
use keywheel::rotation::Status;
use tokio::time::Instant;

/// Shows how connections are.
pub(crate) struct View {
    draws: bool,
    begun: Instant,
    /// What each connection did when it was last shown.
    before: HashMap<ConnectionId, (u64, &'static str)>,
}

impl View {
    pub(crate) fn new(no_tty: bool) -> Self {
        Self {
            draws: !no_tty && stdout().is_terminal(),
            begun: Instant::now(),
            before: HashMap::new(),
        }
    }

    pub(crate) fn show(&mut self, statuses: &[Status]) -> std::io::Result<()> {
        if self.draws {
            // Home, the table cut off at the right edge, and nothing below it: without clearing first,
            // which flickers.
            print!("\x1b[H\x1b[?7l{}\x1b[J\x1b[?7h", table(statuses));
        } else {
            self.lines(statuses);
        }
        stdout().flush()
    }

    /// One line for each connection that does something else than before.
    fn lines(&mut self, statuses: &[Status]) {
        for status in statuses {
            let now = (status.generation, doing(status));
            if self.before.insert(status.connection, now) != Some(now) {
                let seconds = self.begun.elapsed().as_secs_f32();
                println!("{seconds:>5.1} s  {}", row(status));
            }
        }
    }

    pub(crate) fn end(&self, faults: &[(String, u32)]) {
        println!("\nwhat went wrong on purpose:");
        for (what, hits) in faults {
            println!("  {hits:>4} x {what}");
        }
    }
}

fn table(statuses: &[Status]) -> String {
    let settled = statuses.iter().filter(|it| it.is_settled()).count();
    let rotations: u64 = statuses.iter().map(|it| it.generation).sum();
    let mut table = format!(
        "keywheel: {} connections, {settled} at rest, {rotations} secrets replaced (Ctrl-C ends)\x1b[K\n\n",
        statuses.len()
    );
    for status in statuses {
        // Writing to a string does not fail.
        let _ = writeln!(table, "{}\x1b[K", row(status));
    }
    table
}

fn row(status: &Status) -> String {
    let key_id = status.key_id.map_or_else(String::new, |id| id.to_string());
    let next = status.next_due.map_or_else(
        || "never".to_owned(),
        |at| at.format("%F %R UTC").to_string(),
    );
    let trouble = match &status.trouble {
        Some(trouble) => trouble
            .message
            .split(['.', ';', ':', '('])
            .next()
            .unwrap_or_default(),
        None => "",
    };
    let row = format!(
        "{:<14} {:<9} gen {:>3}  key {:<8}  {:<27}  next {next}  {trouble:.50}",
        status.name.as_str(),
        format!("{:?}", status.health).to_lowercase(),
        status.generation,
        &key_id[..key_id.len().min(8)],
        doing(status),
    );
    row.trim_end().to_owned()
}

/// What it does, in words.
fn doing(status: &Status) -> &'static str {
    let orphan = status
        .debts
        .iter()
        .any(|debt| debt.reason == DebtReason::Orphan);
    if orphan {
        "removes a lost secret"
    } else if status.unresolved > 0 {
        "looks for a lost secret"
    } else if status.candidate_key_id.is_some() {
        "proves the new secret"
    } else if !status.debts.is_empty() {
        "waits to revoke the old one"
    } else if status.requested.is_some() || status.run.is_some() {
        "begins"
    } else {
        "at rest"
    }
}
