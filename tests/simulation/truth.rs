use std::sync::Arc;

use chrono::{NaiveDate, TimeDelta};
use keywheel_connection::{
    Cause, Connection, ConnectionId, Debt, DebtReason, Entry, EventKind, Marker, Mode, NewSecret,
    Phase, Rotation, RotationId, Save,
};
use keywheel_core::KeyId;

use super::directory::{By, Directory, Secret};
use super::graces::{grace, hurried};
use super::ports::{BEFORE, opened};
use super::record::{Record, all, given, knows, named, seeks};
use super::world::{Moment, State};

/// How long ago the current secret may have been proven when the one before it is removed: five minutes by
/// the policy, and as long again for a process that is stopped between.
const FRESH: i64 = 600_000;

/// How long it may take until a promotion that was decided is stored: a process may be stopped between.
const UNHEARD: i64 = 300_000;

/// How long after its intent a call to `addPassword` may be under way, in milliseconds. What arrives later
/// is beyond what a directory without fences can be kept from, and is swept.
const STRAY: i64 = 28_000;

/// How far a zone's dates are from UTC's at most, in milliseconds.
const A_ZONE: i64 = 14 * 3_600_000;

/// What is so, beside what the processes believe: the invariants are checked against it after every
/// effect.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) records: Vec<Record>,
    /// How far the clocks of two processes are apart at most, in milliseconds.
    pub(crate) misled: i64,
    /// Every marker whose intent was durable, and since when it was.
    intents: Vec<(Marker, Moment)>,
    /// Every marker that `addPassword` was called with.
    minted: Vec<Marker>,
    /// What each sink was given, for which connection.
    published: Vec<(&'static str, ConnectionId, String)>,
    /// What each sink holds, and the order that it came with: what comes late is not kept.
    shelves: Vec<(&'static str, ConnectionId, String, u64)>,
    /// What was minted long after its intent.
    strays: Vec<KeyId>,
    /// The dates that people froze, as far as they were told so.
    pub(crate) frozen: Vec<(ConnectionId, NaiveDate, NaiveDate)>,
    /// The rotations that people were told end a leak.
    pub(crate) urgent: Vec<RotationId>,
}

impl Truth {
    pub(crate) fn new(misled: i64) -> Self {
        Self {
            misled,
            ..Self::default()
        }
    }

    /// Whether the directory accepts a secret that the connection holds, or that it is managed with.
    pub(crate) fn holds_a_valid_secret(
        &self,
        directory: &Directory,
        now: Moment,
        id: ConnectionId,
    ) -> bool {
        let record = self.record(id);
        let via = record.and_then(|record| record.connection.credential.via());
        let record = via.map_or(record, |via| self.record(via));
        let secrets = record.and_then(|record| record.connection.secrets());
        let Some(secrets) = secrets else { return false };
        let held = [Some(&secrets.current), secrets.previous.as_ref()];
        let keys = held.into_iter().flatten().filter_map(|held| held.key_id);
        let mut secrets = keys.filter_map(|key_id| directory.secret(key_id));
        secrets.any(|secret| secret.is_live(now))
    }

    /// Returns how many secrets became current, over all connections.
    pub(crate) fn promotions(&self) -> u64 {
        let records = self.records.iter();
        records.map(|record| generation(&record.connection)).sum()
    }

    /// The store was put back to what it was when these were its records.
    pub(crate) fn restored(&mut self, now: Moment, records: Vec<Record>, directory: &Directory) {
        let newer = std::mem::replace(&mut self.records, records);
        for record in &mut self.records {
            let id = record.connection.id;
            for newer in newer.iter().filter(|newer| newer.connection.id == id) {
                record.beyond.extend(&newer.beyond);
            }
            let forgotten = directory.secrets().filter(|secret| {
                let minted = secret
                    .marker
                    .is_some_and(|marker| marker.connection() == id);
                minted && secret.removed.is_none() && !record.is_aware_of(secret)
            });
            let forgotten: Vec<_> = forgotten.map(|secret| secret.key_id).collect();
            record.beyond.extend(forgotten);
            record.restored = Some(now);
        }
        self.frozen.clear();
        self.urgent.clear();
    }

    /// What was asked for before the store was restored is beyond it.
    fn came_late(&mut self, marker: Marker, intended: Moment, key_id: KeyId) {
        let mut records = self.records.iter_mut();
        let record = records.find(|record| record.connection.id == marker.connection());
        let late = |record: &&mut Record| record.restored.is_some_and(|at| intended < at);
        if let Some(record) = record.filter(late) {
            record.beyond.push(key_id);
        }
    }

    pub(crate) fn record(&self, id: ConnectionId) -> Option<&Record> {
        let mut records = self.records.iter();
        records.find(|record| record.connection.id == id)
    }

    /// Whether a secret is somebody's current one, or people were told that it lives on.
    pub(crate) fn holds(&self, secret: &Secret) -> bool {
        self.records.iter().any(|record| {
            let secrets = record.connection.secrets();
            let current = secrets.and_then(|secrets| secrets.current.key_id);
            (current == Some(secret.key_id) && !record.deleted) || record.excuses(secret)
        })
    }
}

impl State {
    /// A connection was stored for the first time.
    pub(crate) fn created(&mut self, now: Moment, connection: &Connection, entries: &[Entry]) {
        let misled = self.truth.misled;
        self.truth
            .records
            .push(Record::new(connection, now, misled));
        self.silent(entries);
    }

    /// A save took place.
    pub(crate) fn committed(&mut self, now: Moment, save: &Save<'_>, stored: Arc<Connection>) {
        let after = save.connection;
        let id = after.id;
        let Some(index) = self
            .truth
            .records
            .iter()
            .position(|r| r.connection.id == id)
        else {
            return;
        };
        let mut record = self.truth.records.swap_remove(index);
        let before = std::mem::replace(&mut record.connection, stored);
        record.deleted |= save.deletes;
        for key_id in given(after) {
            if record.adopted_at(key_id).is_none() {
                record.adopted.push((key_id, now));
            }
        }
        self.trace_save(now, &before, &record, save);
        if let Some(Rotation {
            phase: Phase::Intent { marker, .. },
            ..
        }) = record.rotation()
            && !self.truth.intents.iter().any(|(known, _)| known == marker)
        {
            self.truth.intents.push((*marker, now));
        }
        self.monotone(&before, after, save.entries);
        self.promised(&before, save);
        if save.lease.is_none() && generation(&before) != generation(after) {
            record.enrolled_anew(&before, save.entries, now);
            self.tried(&record);
        } else {
            self.proven(now, &before, &mut record);
            self.overtakes_nothing(now, &before, &record);
        }
        self.never_zero(&record);
        self.truthful(now, &before, &record);
        self.once_per_date(now, &before, &mut record);
        self.refused(&before, &record);
        if save.lease.is_none() && hurried(&before, &record) {
            record.promoted.1 = TimeDelta::zero();
        }
        self.silent(save.entries);
        self.no_false_alarm(now, save.entries);
        if record.deleted {
            record.let_go.extend(all(&before));
            record.unsettled.extend(named(save.entries));
        }
        self.truth.records.push(record);
        self.nothing_lost(now);
    }

    fn trace_save(&mut self, now: Moment, before: &Connection, record: &Record, save: &Save<'_>) {
        let events = save.entries.iter().map(|entry| {
            let word = entry.body.split('"').nth(3).unwrap_or_default();
            format!(" {word}")
        });
        let by = save.lease.map_or(0, |(lease, _)| lease.fence.0);
        let seq = before.journal.seq;
        let name = &record.connection.name;
        self.trace.note_with(now, || {
            let events: String = events.collect();
            format!("saved {name} {seq}+ fence {by}:{events}")
        });
    }

    /// A refusal that was stored begins the count of proofs anew.
    fn refused(&mut self, before: &Connection, record: &Record) {
        let refusals = |connection: &Connection| {
            let candidate = connection.rotation.as_ref()?.candidate()?;
            (candidate.refusals > 0).then_some((candidate.key_id, candidate.refusals))
        };
        let Some((key_id, refusals_now)) = refusals(&record.connection) else {
            return;
        };
        if refusals(before) != Some((key_id, refusals_now))
            && let Some(secret) = self.directory.secret_mut(key_id)
        {
            secret.proofs = 0;
        }
    }

    /// A secret is told to be nobody's only while the directory has it: what a read shows that lags behind is
    /// no reason to call somebody.
    fn no_false_alarm(&mut self, now: Moment, entries: &[Entry]) {
        let lag = self.faults.list_lag + 60_000;
        for entry in entries {
            // Few entries are, and reading each takes its time.
            if !entry.body.contains("secret.stray_found") {
                continue;
            }
            let Ok(EventKind::StrayFound { key_id, .. }) = entry.event().map(|event| event.kind)
            else {
                continue;
            };
            let secret = self.directory.secret(key_id);
            let gone = secret.and_then(|secret| secret.removed);
            if secret.is_none() || gone.is_some_and(|(at, _)| now.0 - at.0 > lag) {
                self.broken(|| format!("G2: {key_id} was called a stray, and is gone"));
            }
        }
    }

    /// G6: generations only grow. The journal has no gap.
    fn monotone(&mut self, before: &Connection, after: &Connection, entries: &[Entry]) {
        let (old, new) = (generation(before), generation(after));
        if new < old {
            self.broken(|| format!("G6: from generation {old} back to {new}"));
        }
        if after.journal.seq != before.journal.seq + entries.len() as u64 {
            self.broken(|| "G7: the journal has a gap".to_owned());
        }
    }

    /// G1: what becomes the current secret was proven by as many fresh tokens as were asked for, and a
    /// read.
    fn proven(&mut self, now: Moment, before: &Connection, record: &mut Record) {
        let after = &record.connection;
        if generation(before) == generation(after) {
            return;
        }
        let Some(current) = after.secrets().map(|secrets| &secrets.current) else {
            return;
        };
        let settings = before.rotation.as_ref().map(|rotation| &rotation.settings);
        let wanted = settings.map_or(1, |settings| u32::from(settings.proofs.max(1)));
        record.promoted = (now, grace(before));
        self.ends_a_leak(before, after);
        let Some(secret) = current
            .key_id
            .and_then(|key_id| self.directory.secret(key_id))
        else {
            return self.broken(|| format!("G1: {current:?} was promoted and does not exist"));
        };
        let text = opened(&current.sealed, after.id, current.generation);
        if text.as_deref() != Some(secret.text.as_str()) {
            return self.broken(|| "G1: what was promoted can't be opened".to_owned());
        }
        let published = (BEFORE, after.id, secret.text.clone());
        if self.sinks && !self.truth.published.contains(&published) {
            let key_id = secret.key_id;
            return self.broken(|| format!("G1: {key_id} was promoted, and a sink has it not"));
        }
        // A managed secret's token need not be good for a read; who manages it reads.
        let read = secret.read_by.is_some() || after.credential.via().is_some();
        if secret.proofs < wanted || !read {
            let (key_id, proofs) = (secret.key_id, secret.proofs);
            self.broken(|| {
                format!("G1: {key_id} was promoted after {proofs} proofs of {wanted} in a row")
            });
        }
    }

    /// G1: a credential that people give is tried before it is stored.
    fn tried(&mut self, record: &Record) {
        let secrets = record.connection.secrets();
        let key_id = secrets.and_then(|secrets| secrets.current.key_id);
        let secret = key_id.and_then(|key_id| self.directory.secret(key_id));
        if secret.is_none_or(|secret| secret.proofs == 0 || secret.read_by.is_none()) {
            self.broken(|| format!("G1: {key_id:?} was taken over untried"));
        }
    }

    /// G6: a store that was restored puts nothing in the place of what is newer. The directory may take a
    /// while to show that.
    fn overtakes_nothing(&mut self, now: Moment, before: &Connection, record: &Record) {
        let connection = &record.connection;
        if generation(before) == generation(connection) || given(connection).next().is_some() {
            return;
        }
        let (from, to) = (
            generation(&record.connection),
            self.faults.list_lag + 60_000,
        );
        let applications = self.directory.applications.iter();
        let mut own = applications.filter(|own| own.client == connection.client);
        let mut secrets = own.by_ref().flat_map(|own| &own.secrets);
        let newer = secrets.find(|secret| {
            let ahead = secret
                .marker
                .is_some_and(|marker| marker.generation() >= from);
            let old = record.restored.is_some_and(|at| now.0 - at.0 > to);
            ahead && old && record.beyond.contains(&secret.key_id) && secret.is_live(now)
        });
        if let Some(newer) = newer {
            let what = format!("G6: {} was overtaken, which the store forgot", newer.key_id);
            self.broken(|| what);
        }
    }

    /// G1: the stored current secret is not one that we removed.
    fn never_zero(&mut self, record: &Record) {
        let connection = &record.connection;
        let leaves = record.deleted || record.rotation().is_some_and(|r| r.farewell.is_some());
        let current = connection
            .secrets()
            .and_then(|secrets| secrets.current.key_id);
        let secret = current.and_then(|key_id| self.directory.secret(key_id));
        let removed = secret.and_then(|secret| secret.removed);
        let since = record.restored.unwrap_or_default();
        if !leaves && removed.is_some_and(|(at, by)| by == By::Keywheel && at > since) {
            self.broken(|| "G1: the current secret is one that we removed".to_owned());
        }
    }

    /// G2: every secret with our marker is in a ledger, or its marker is looked for.
    pub(crate) fn nothing_lost(&mut self, now: Moment) {
        let lost = self.directory.secrets().find(|secret| {
            let Some(marker) = secret.marker.filter(|_| secret.is_live(now)) else {
                return false;
            };
            let mut records = self.truth.records.iter();
            let record = records.find(|r| r.connection.id == marker.connection());
            record.is_some_and(|record| !record.accounts_for(secret))
        });
        if let Some(secret) = lost {
            let what = format!("G2: {} ({}) is in no ledger", secret.key_id, secret.name);
            self.broken(|| what);
        }
    }

    /// G7: what is owed no more is gone, or is in use again.
    fn truthful(&mut self, now: Moment, before: &Connection, record: &Record) {
        let (Some(was), Some(is)) = (&before.rotation, record.rotation()) else {
            return;
        };
        for debt in &was.debts {
            let live = self
                .directory
                .secret(debt.key_id)
                .is_some_and(|s| s.is_live(now));
            let listed = record.let_go.contains(&debt.key_id) || record.deleted;
            if live && !knows(&record.connection, debt.key_id) && !listed {
                let key_id = debt.key_id;
                self.broken(|| format!("G7: {key_id} was called revoked and is not"));
            }
        }
        let superseded = |debt: &Debt| debt.reason == DebtReason::Superseded;
        let confirmed =
            was.run.is_some() && is.run.is_none() && is.last.is_some() && is.last != was.last;
        if confirmed && is.debts.iter().any(superseded) {
            self.broken(|| "G7: confirmed with a debt".to_owned());
        }
    }

    /// G9: the schedule begins nothing on a date that people froze.
    fn frozen(&mut self, now: Moment, id: ConnectionId) {
        let margin = self.truth.misled + A_ZONE;
        let within = |(frozen, first, last): &(ConnectionId, NaiveDate, NaiveDate)| {
            *frozen == id
                && *first <= now.plus(-margin).date().date_naive()
                && now.plus(margin).date().date_naive() <= *last
        };
        if self.truth.frozen.iter().any(within) {
            self.broken(|| "G9: the schedule began a rotation on a frozen date".to_owned());
        }
    }

    /// G9: the schedule begins one rotation for each of its dates.
    fn once_per_date(&mut self, now: Moment, before: &Connection, record: &mut Record) {
        let was = before.rotation.as_ref();
        let run = record.rotation().and_then(|rotation| rotation.run);
        let Some(run) = run.filter(|_| was.is_some_and(|was| was.run.is_none())) else {
            return;
        };
        if run.cause != Cause::Schedule {
            return;
        }
        self.frozen(now, record.connection.id);
        let schedule = record
            .rotation()
            .map(|r| r.settings.plan.schedule().clone());
        let earlier = record.scheduled.replace((run.id, now));
        let (Some((other, at)), Some(schedule)) = (earlier, schedule) else {
            return;
        };
        let next = schedule.next_after(at.date());
        if next.is_some_and(|next| next.at() > now.plus(record.misled).date()) {
            self.broken(|| format!("G9: {} follows {other} on one date", run.id));
        }
    }

    /// G8: no secret is in what people read.
    fn silent(&mut self, entries: &[Entry]) {
        if let Some(entry) = entries.iter().find(|entry| entry.body.contains("8Q~")) {
            let body = entry.body.clone();
            self.broken(|| format!("G8: a secret is in the journal: {body}"));
        }
    }

    /// A sink was given a secret.
    pub(crate) fn published(&mut self, now: Moment, sink: &'static str, new: &NewSecret<'_>) {
        let (id, generation) = (new.connection.id, new.generation);
        self.trace.note(
            now,
            None,
            format_args!("{sink} has generation {generation}"),
        );
        let held = (sink, id, new.secret.expose().to_owned());
        if !self.truth.published.contains(&held) {
            self.truth.published.push(held);
        }
        let shelves = &mut self.truth.shelves;
        let newer = |(name, of, _, order): &(_, _, _, u64)| {
            (*name, *of) == (sink, id) && *order > new.order()
        };
        if !shelves.iter().any(newer) {
            shelves.retain(|(name, of, ..)| (*name, *of) != (sink, id));
            shelves.push((sink, id, new.secret.expose().to_owned(), new.order()));
        }
    }

    /// What a sink must have before it is used stays until the sink has another one.
    fn held_by_a_sink(&self, record: &Record, secret: &Secret) -> Option<&'static str> {
        let rotation = record.rotation()?;
        let given_up = |debt: &Debt| {
            let reasons = [DebtReason::Aborted, DebtReason::Superseded];
            debt.key_id == secret.key_id && reasons.contains(&debt.reason)
        };
        let excused = record.restored.is_some() || rotation.farewell.is_some();
        if excused || !rotation.debts.iter().any(given_up) {
            return None;
        }
        let mut shelves = self.truth.shelves.iter();
        let held = shelves.find(|(sink, of, text, _)| {
            *sink == BEFORE && *of == record.connection.id && *text == secret.text
        });
        held.map(|(sink, ..)| *sink)
    }

    /// `addPassword` took place. G2: its intent is durable. G4: once for each marker. G5: few are ours.
    pub(crate) fn minted(&mut self, now: Moment, marker: Marker, key_id: KeyId) {
        let mut intents = self.truth.intents.iter();
        let intended = intents.find(|(known, _)| *known == marker);
        let Some((_, intended)) = intended.copied() else {
            return self.broken(|| format!("G2: {marker} was minted without a durable intent"));
        };
        if self.truth.minted.contains(&marker) {
            self.broken(|| format!("G4: {marker} was minted twice"));
        }
        self.truth.minted.push(marker);
        self.truth.came_late(marker, intended, key_id);
        self.nothing_lost(now);
        if now.0 - intended.0 < STRAY {
            self.bounded(now, marker.connection(), intended);
        } else {
            self.truth.strays.push(key_id);
        }
    }

    /// A secret that people hand over while a mint is under way takes none of the room that there was when
    /// it was intended: nobody can hold them up for a call whose answer may be lost.
    fn bounded(&mut self, now: Moment, id: ConnectionId, intended: Moment) {
        let mut records = self.truth.records.iter();
        let Some(record) = records.find(|record| record.connection.id == id) else {
            return;
        };
        let ours = self.directory.secrets().filter(|secret| {
            let strays = self.truth.strays.contains(&secret.key_id);
            let handed_over = secret.marker.is_none()
                && record
                    .adopted_at(secret.key_id)
                    .is_some_and(|at| at > intended);
            // What was handed over and given up is its owner's again.
            let handed_back = secret.marker.is_none() && !knows(&record.connection, secret.key_id);
            let counts = record.owns(secret) && !record.excuses(secret);
            let counts = counts && !handed_over && !handed_back;
            secret.is_live(now) && counts && !strays
        });
        let ours = ours.count();
        let expiring = record.rotation().is_some_and(|rotation| {
            rotation.settings.mode == Mode::Overlap
                && rotation
                    .run
                    .is_some_and(|run| matches!(run.cause, Cause::Expiry | Cause::Repair))
        });
        if ours > 2 + usize::from(expiring) {
            self.broken(|| format!("G5: {ours} secrets of ours live on one application"));
        }
    }

    /// `removePassword` arrives. G3: the secret is ours. G1: it is not in use, and another one is. G9: its
    /// grace is over.
    pub(crate) fn removing(&mut self, now: Moment, by: ConnectionId, key_id: KeyId) {
        let mut records = self.truth.records.iter();
        let Some(record) = records.find(|record| record.connection.id == by) else {
            return;
        };
        let Some(secret) = self
            .directory
            .secret(key_id)
            .filter(|s| s.removed.is_none())
        else {
            return;
        };
        if !record.owns(secret) {
            return self.broken(|| format!("G3: {key_id} is not ours and is removed"));
        }
        if let Some(sink) = self.held_by_a_sink(record, secret) {
            return self.broken(|| format!("G1: {key_id} is in use by {sink} and is removed"));
        }
        let sought = secret.marker.is_some_and(|m| seeks(&record.connection, m));
        if record.beyond.contains(&key_id) && !sought && !knows(&record.connection, key_id) {
            return self.broken(|| format!("G3: {key_id} is newer than the store and is removed"));
        }
        let connection = &record.connection;
        let Some((secrets, rotation)) = connection.secrets().zip(record.rotation()) else {
            return;
        };
        if record.deleted || rotation.farewell.is_some() {
            return;
        }
        let candidate = rotation.candidate().map(|candidate| candidate.key_id);
        if secrets.current.key_id == Some(key_id) || candidate == Some(key_id) {
            return self.broken(|| format!("G1: {key_id} is in use and is removed"));
        }
        let current = secrets
            .current
            .key_id
            .and_then(|key_id| self.directory.secret(key_id));
        let previous = secrets.previous.as_ref().and_then(|held| held.key_id);
        let mut debts = rotation.debts.iter();
        let replaced = debts.any(|d| d.key_id == key_id && d.reason == DebtReason::Superseded);
        if previous != Some(key_id) && !replaced {
            return;
        }
        let unheard = FRESH + self.faults.accept_lag + record.misled;
        let fallen = current.is_none_or(|current| match current.removed {
            Some((at, _)) => now.0 - at.0 > unheard,
            None => current.end <= now,
        });
        if secret.is_live(now) && fallen {
            return self.broken(|| format!("G1: {key_id} is removed, and no other one is valid"));
        }
        let (promoted, grace) = record.promoted;
        let early = now.0 - promoted.0 < grace.num_milliseconds() - UNHEARD;
        if early && previous == Some(key_id) {
            self.broken(|| format!("G9: {key_id} is removed before its grace is over"));
        }
    }
}

fn generation(connection: &Connection) -> u64 {
    connection
        .secrets()
        .map_or(0, |secrets| secrets.current.generation)
}
