use std::cell::Cell;
use std::ops::Range;
use std::time::Duration;

use keywheel_connection::{Claimed, ConnectionId, Holder, Lease, StoreError, Version};
use rusqlite::{Row, params};
use tokio::sync::oneshot;

use super::{Fault, Place, Write, Writing};
use crate::row::{Stored, decode_or_log, id, instant, uncount};

/// A connection that was leased, not decoded yet.
pub(crate) struct Taken {
    pub(crate) lease: Lease,
    pub(crate) stored: Stored,
}

/// Connections that were claimed, not decoded yet. Their records share one text: memory that one thread takes
/// and another one gives back, for each of them, is dear.
#[derive(Default)]
pub(crate) struct Claims {
    leases: Vec<(Lease, Version, Range<usize>)>,
    records: String,
}

impl Claims {
    /// Reads the columns `version, record` after another one.
    fn read(&mut self, row: &Row<'_>, lease: Lease) -> rusqlite::Result<()> {
        let begin = self.records.len();
        self.records.push_str(row.get_ref(2)?.as_str()?);
        let range = begin..self.records.len();
        let version = Version(uncount(row.get(1)?));
        self.leases.push((lease, version, range));
        Ok(())
    }

    /// Decodes what can be read. The rest stays leased, so that it is not in the way of others.
    pub(crate) fn decode(self) -> Vec<Claimed> {
        let mut claims = Vec::with_capacity(self.leases.len());
        for (lease, version, range) in self.leases {
            let record = &self.records[range];
            if let Some(stored) = decode_or_log(lease.connection, version, record) {
                claims.push(Claimed { lease, stored });
            }
        }
        claims
    }
}

pub(crate) struct TakeOne {
    pub(crate) id: ConnectionId,
    pub(crate) holder: Holder,
    pub(crate) span: Duration,
}

impl Write for TakeOne {
    type Output = Taken;

    fn apply(&self, to: &mut Writing<'_>) -> Result<Taken, Fault> {
        let place = to.place(self.id)?;
        if let Some(held) = place.held.as_ref().filter(|held| to.now < held.until) {
            return Err(StoreError::held(instant(held.until)).into());
        }
        let place = place.taken(self.holder, to.now, self.span);
        to.write_due([&place])?;
        let stored = to.stored(place.row)?;
        let lease = place.lease(self.id, self.holder, self.span);
        Ok(Taken { lease, stored })
    }
}

pub(crate) struct TakeDue {
    holder: Holder,
    limit: u32,
    span: Duration,
    ahead: Cell<Option<oneshot::Sender<Claims>>>,
}

impl TakeDue {
    /// What is taken goes to `ahead` before it is written. Only after the answer to the write it holds.
    pub(crate) fn new(
        holder: Holder,
        limit: u32,
        span: Duration,
        ahead: oneshot::Sender<Claims>,
    ) -> Self {
        let ahead = Cell::new(Some(ahead));
        Self {
            holder,
            limit,
            span,
            ahead,
        }
    }
}

impl Write for TakeDue {
    /// What a later attempt took, after an earlier one was rolled back: what that one handed out does not hold.
    type Output = Option<Claims>;

    fn apply(&self, to: &mut Writing<'_>) -> Result<Self::Output, Fault> {
        let mut statement = to.connection.prepare_cached(DUE)?;
        let mut due = statement.query(params![to.now, self.limit])?;
        let (mut places, mut claims) = (Vec::new(), Claims::default());
        while let Some(row) = due.next()? {
            let place = Place::due(row)?.taken(self.holder, to.now, self.span);
            claims.read(row, place.lease(id(row.get(0)?), self.holder, self.span))?;
            places.push(place);
        }
        let anew = match self.ahead.take() {
            Some(ahead) => ahead.send(claims).err(),
            None => Some(claims),
        };
        to.write_due(&places)?;
        Ok(anew)
    }
}

/// The index of what is due comes first, whatever SQLite thinks of it.
const DUE: &str = "SELECT id, version, record, row, fence, wake_at
                   FROM due CROSS JOIN connection USING (row)
                   WHERE claimable_at <= ?1 ORDER BY claimable_at LIMIT ?2";

#[cfg(test)]
mod tests {
    use keywheel_connection::Fence;
    use uuid::Uuid;

    use super::*;
    use crate::write::END_LEASES;

    #[test]
    fn a_poll_looks_at_what_is_due_alone() {
        let file = file();
        let plan = |sql| {
            let mut plan = file.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let lines = plan.raw_query().mapped(|row| row.get(3));
            lines.collect::<Result<Vec<String>, _>>().unwrap()
        };

        // And sorts nothing.
        assert_eq!(
            plan(DUE),
            [
                "SEARCH due USING INDEX due_claimable (claimable_at<?)",
                "SEARCH connection USING INTEGER PRIMARY KEY (rowid=?)",
            ]
        );
        assert_eq!(
            plan(END_LEASES),
            ["SEARCH due USING INDEX due_leased (leased_at>?)"]
        );
    }

    #[test]
    fn what_was_handed_out_ahead_and_rolled_back_is_given_anew() {
        let file = file();
        file.execute_batch(
            "INSERT INTO connection VALUES (1, zeroblob(16), 'default', 'c1', 1, '{}');
             INSERT INTO due (row, fence, wake_at, claimable_at) VALUES (1, 7, 0, 0);",
        )
        .unwrap();
        let (ahead, mut early) = oneshot::channel();
        let due = TakeDue::new(Uuid::from_u128(1).into(), 10, Duration::from_secs(1), ahead);
        let fences = |claims: Claims| -> Vec<_> {
            let leases = claims.leases.iter();
            leases.map(|(lease, ..)| lease.fence).collect()
        };

        let take = || {
            let transaction = file.unchecked_transaction().unwrap();
            due.apply(&mut Writing::new(&transaction, 0)).ok().unwrap()
        };

        assert!(take().is_none());
        assert_eq!(fences(early.try_recv().unwrap()), [Fence(8)]);
        assert_eq!(take().map(fences), Some(vec![Fence(8)]));
    }

    fn file() -> rusqlite::Connection {
        let file = rusqlite::Connection::open_in_memory().unwrap();
        file.execute_batch(include_str!("../schema/v1.sql"))
            .unwrap();
        file
    }
}
