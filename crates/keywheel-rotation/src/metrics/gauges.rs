use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};
use keywheel_connection::{Connection, EventKind};
use metrics::{Label, SharedString, gauge};

use super::on::{count, count_of, seconds};
use super::table::name;
use crate::status::validity;

/// The gauges that an engine shows for each connection. The facade can't take one back, so what is shown of
/// a connection that is deleted is set to what says nothing: here when we delete it, and when a survey does
/// not find it any more when somebody else did.
pub(crate) struct Gauges {
    /// Whether any of them is wanted.
    wanted: bool,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    /// Counts the surveys.
    round: u64,
    /// By namespace and name.
    connections: HashMap<(Arc<str>, Arc<str>), Last>,
}

#[derive(Clone, Copy)]
struct Last {
    /// The survey during or after which it was shown last.
    round: u64,
    /// Whether an end was shown.
    end: bool,
}

impl Gauges {
    pub(crate) fn new(wanted: bool) -> Self {
        Self {
            wanted,
            shown: Mutex::default(),
        }
    }

    /// Counts what was committed, and shows how the connection is.
    pub(crate) fn committed(
        &self,
        connection: &Connection,
        events: &[EventKind],
        now: DateTime<Utc>,
    ) {
        events.iter().for_each(count);
        if !self.wanted {
            return;
        }
        let deleted = |event: &EventKind| matches!(event, EventKind::ConnectionDeleted { .. });
        if events.iter().any(deleted) {
            let names = names(connection);
            self.shown().connections.remove(&names);
            clear(&names);
        } else {
            self.show(connection, now);
        }
    }

    /// Shows when the current secret or certificate ends, and what the connection owes at `now`.
    pub(super) fn show(&self, connection: &Connection, now: DateTime<Utc>) {
        if !self.wanted {
            return;
        }
        let names = names(connection);
        let labels = labels(&names);
        let end = validity(&connection.credential).and_then(|(_, end)| end);
        let before = self.shown().note(&names, end.is_some());
        match end {
            Some(end) => gauge!(name::EXPIRY, labels.iter()).set(seconds(end)),
            None if before => gauge!(name::EXPIRY, labels.iter()).set(f64::NAN),
            None => {}
        }
        let rotation = connection.rotation.as_ref();
        let debts = rotation.map_or(&[][..], |rotation| &rotation.debts);
        let due = debts.iter().filter(|debt| debt.due <= now).count();
        let drift = rotation.map_or(0, |rotation| rotation.deliveries.len());
        let strays = rotation.map_or(0, |r| r.strays.iter().filter(|it| it.told).count());
        gauge!(name::DEBTS, labels.iter()).set(count_of(due));
        gauge!(name::GRACE, labels.iter()).set(count_of(debts.len() - due));
        gauge!(name::DRIFT, labels.iter()).set(count_of(drift));
        gauge!(name::STRAYS, labels.iter()).set(count_of(strays));
    }

    /// Begins a survey of all connections, and returns its number.
    pub(super) fn begin_survey(&self) -> u64 {
        let mut shown = self.shown();
        shown.round += 1;
        shown.round
    }

    /// Takes back what is shown of connections that the survey `round`, which is over, did not find.
    pub(super) fn end_survey(&self, round: u64) {
        let gone = |_: &_, last: &mut Last| last.round < round;
        let gone: Vec<_> = self.shown().connections.extract_if(gone).collect();
        for (names, _) in gone {
            clear(&names);
        }
    }

    fn shown(&self) -> MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shown {
    /// Notes that a connection is shown, and returns whether an end of it was.
    fn note(&mut self, names: &(Arc<str>, Arc<str>), end: bool) -> bool {
        let round = self.round;
        let last = Last { round, end };
        let before = self.connections.insert(names.clone(), last);
        before.is_some_and(|before| before.end)
    }
}

impl fmt::Debug for Gauges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gauges").finish_non_exhaustive()
    }
}

/// Shared with the recorder: this runs at every save.
fn names(connection: &Connection) -> (Arc<str>, Arc<str>) {
    (
        connection.namespace.clone().into(),
        connection.name.clone().into(),
    )
}

fn labels((namespace, connection): &(Arc<str>, Arc<str>)) -> [Label; 2] {
    [
        Label::new("namespace", SharedString::from(namespace.clone())),
        Label::new("connection", SharedString::from(connection.clone())),
    ]
}

/// No comparison with what is no number holds, so no alert stays.
fn clear(names: &(Arc<str>, Arc<str>)) {
    let labels = labels(names);
    gauge!(name::EXPIRY, labels.iter()).set(f64::NAN);
    for nothing in [name::DEBTS, name::GRACE, name::DRIFT, name::STRAYS] {
        gauge!(nothing, labels.iter()).set(0.0);
    }
}
