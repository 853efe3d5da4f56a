use keywheel_connection::{ConnectionId, Entry, Lease, LeaseChange, Save, Version, Wake};
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::link::Param;
use crate::row::{count, micros, span};

/// A [`Save`] that owns what it writes.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) id: ConnectionId,
    pub(crate) expected: Version,
    name: String,
    record: String,
    wake: Wake,
    entries: Vec<Entry>,
    lease: Option<(Lease, LeaseChange)>,
}

impl Change {
    pub(crate) fn new(save: &Save<'_>) -> Self {
        let connection = save.connection;
        Self {
            id: connection.id,
            name: connection.name.to_string(),
            record: connection.encode(),
            expected: save.expected,
            wake: save.wake,
            entries: save.entries.to_vec(),
            lease: save.lease.map(|(lease, change)| (lease.clone(), change)),
        }
    }

    pub(crate) fn lease(&self) -> Option<&Lease> {
        self.lease.as_ref().map(|(lease, _)| lease)
    }

    pub(crate) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    fn wake_at(&self) -> Option<i64> {
        match self.wake {
            Wake::At(at) => Some(micros(at)),
            Wake::Keep | Wake::Never => None,
        }
    }

    fn extension(&self) -> Option<i64> {
        match self.lease {
            Some((_, LeaseChange::Extend(by))) => Some(span(by)),
            Some((_, LeaseChange::Release)) | None => None,
        }
    }
}

/// The parameters of the function `save_all`: a column for each array.
#[derive(Debug, Default)]
pub(crate) struct Columns<'a> {
    ids: Vec<&'a Uuid>,
    expected: Vec<i64>,
    fences: Vec<Option<i64>>,
    holders: Vec<Option<Uuid>>,
    keeps: Vec<bool>,
    wake_at: Vec<Option<i64>>,
    spans: Vec<Option<i64>>,
    names: Vec<&'a str>,
    records: Vec<&'a str>,
    entries: Entries<'a>,
}

impl<'a> Columns<'a> {
    pub(crate) fn of(changes: &[&'a Change]) -> Self {
        let mut columns = Self::default();
        for (number, change) in (1..).zip(changes) {
            columns.ids.push(change.id.as_uuid());
            columns.expected.push(count(change.expected.0));
            let lease = change.lease();
            columns.fences.push(lease.map(|lease| count(lease.fence.0)));
            columns
                .holders
                .push(lease.map(|lease| *lease.holder.as_uuid()));
            columns.keeps.push(change.wake == Wake::Keep);
            columns.wake_at.push(change.wake_at());
            columns.spans.push(change.extension());
            columns.names.push(&change.name);
            columns.records.push(&change.record);
            columns.entries.push(number, &change.entries);
        }
        columns
    }

    pub(crate) fn params(&self) -> [Param<'_>; 13] {
        let [seqs, bodies, digests] = self.entries.params();
        [
            (&self.ids, Type::UUID_ARRAY),
            (&self.expected, Type::INT8_ARRAY),
            (&self.fences, Type::INT8_ARRAY),
            (&self.holders, Type::UUID_ARRAY),
            (&self.keeps, Type::BOOL_ARRAY),
            (&self.wake_at, Type::INT8_ARRAY),
            (&self.spans, Type::INT8_ARRAY),
            (&self.names, Type::TEXT_ARRAY),
            (&self.records, Type::TEXT_ARRAY),
            (&self.entries.numbers, Type::INT8_ARRAY),
            seqs,
            bodies,
            digests,
        ]
    }
}

/// Journal entries as arrays.
#[derive(Debug, Default)]
pub(crate) struct Entries<'a> {
    numbers: Vec<i64>,
    seqs: Vec<i64>,
    bodies: Vec<&'a str>,
    digests: Vec<&'a [u8]>,
}

impl<'a> Entries<'a> {
    pub(crate) fn of(entries: &'a [Entry]) -> Self {
        let mut columns = Self::default();
        columns.push(1, entries);
        columns
    }

    fn push(&mut self, number: i64, entries: &'a [Entry]) {
        for entry in entries {
            self.numbers.push(number);
            self.seqs.push(count(entry.seq));
            self.bodies.push(&entry.body);
            self.digests.push(entry.digest.as_bytes());
        }
    }

    pub(crate) fn params(&self) -> [Param<'_>; 3] {
        [
            (&self.seqs, Type::INT8_ARRAY),
            (&self.bodies, Type::TEXT_ARRAY),
            (&self.digests, Type::BYTEA_ARRAY),
        ]
    }
}
