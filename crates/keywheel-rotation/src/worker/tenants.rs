use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::TenantId;

/// Lets so many connections of each tenant in, and gives the others a time to come back.
///
/// Whoever finds no room is given the next free slot of its tenant. Slots are as far apart as connections
/// of that tenant were lately done with, so that a queue of thousands is written once or twice each and
/// not asked again every second.
#[derive(Debug)]
pub(super) struct Tenants {
    limit: usize,
    rooms: HashMap<TenantId, Room>,
}

#[derive(Debug)]
struct Room {
    inside: usize,
    /// How long a connection stays, on average.
    stay: TimeDelta,
    /// The last slot that was given away.
    given: DateTime<Utc>,
}

/// Whether a connection may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// It is in. [`Tenants::left`] must be told when it is out again.
    Admitted,
    /// Not before then.
    Later(DateTime<Utc>),
}

/// The farthest slot. What waits longer looks again, and finds out that others are done sooner or that
/// another replica has room.
const HORIZON: TimeDelta = TimeDelta::minutes(5);

/// How long a connection is thought to stay before the first one left: three proofs over ten seconds.
const FIRST_STAY: TimeDelta = TimeDelta::seconds(10);

/// Slots are never closer: ten milliseconds are a hundred calls a second.
const CLOSEST: TimeDelta = TimeDelta::milliseconds(10);

impl Tenants {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit: limit.max(1),
            rooms: HashMap::new(),
        }
    }

    /// Lets a connection of `tenant` in if there is room, or if it is `urgent`.
    pub(super) fn enter(&mut self, tenant: &TenantId, urgent: bool, now: DateTime<Utc>) -> Entry {
        let room = self
            .rooms
            .entry(tenant.clone())
            .or_insert_with(|| Room::new(now));
        if urgent || room.inside < self.limit {
            room.inside += 1;
            return Entry::Admitted;
        }
        Entry::Later(room.slot(self.limit, now))
    }

    /// Notes that a connection of `tenant` is done with, after `stay`.
    pub(super) fn left(&mut self, tenant: &TenantId, stay: TimeDelta, now: DateTime<Utc>) {
        let Some(room) = self.rooms.get_mut(tenant) else {
            return;
        };
        room.inside = room.inside.saturating_sub(1);
        room.stay = (room.stay * 7 + stay) / 8;
        if room.inside == 0 && room.given <= now {
            self.rooms.remove(tenant);
        }
    }
}

impl Room {
    fn new(now: DateTime<Utc>) -> Self {
        Self {
            inside: 0,
            stay: FIRST_STAY,
            given: now,
        }
    }

    fn slot(&mut self, limit: usize, now: DateTime<Utc>) -> DateTime<Utc> {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        // A little closer than they are done with, so that no room stays empty.
        let apart = (self.stay * 4 / 5 / limit).max(CLOSEST);
        let slot = self.given.max(now) + apart;
        if slot <= now + HORIZON {
            self.given = slot;
            return slot;
        }
        // Past the horizon they come back one after the other too, each in its place of the next round.
        self.given = now + apart;
        now + HORIZON
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn later(entry: Entry) -> DateTime<Utc> {
        match entry {
            Entry::Later(at) => at,
            Entry::Admitted => panic!("there was no room"),
        }
    }

    const NOW: DateTime<Utc> = DateTime::UNIX_EPOCH;

    #[test]
    fn a_full_tenant_leaves_room_to_others() {
        let mut tenants = Tenants::new(2);
        let (full, other) = (tenant("full.example"), tenant("other.example"));
        for _ in 0..2 {
            assert_eq!(tenants.enter(&full, false, NOW), Entry::Admitted);
        }

        assert!(later(tenants.enter(&full, false, NOW)) > NOW);
        assert_eq!(tenants.enter(&other, false, NOW), Entry::Admitted);
        assert_eq!(tenants.enter(&full, true, NOW), Entry::Admitted);
    }

    #[test]
    fn those_who_wait_come_back_one_after_the_other() {
        let mut tenants = Tenants::new(2);
        let full = tenant("full.example");
        for _ in 0..2 {
            tenants.enter(&full, false, NOW);
        }

        let slots: Vec<_> = (0..10_000)
            .map(|_| later(tenants.enter(&full, false, NOW)))
            .collect();

        let first_round = &slots[..75];
        assert!(first_round.is_sorted(), "{first_round:?}");
        assert!(first_round.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(
            slots
                .iter()
                .all(|slot| *slot > NOW && *slot <= NOW + HORIZON)
        );
    }

    #[test]
    fn the_pace_is_that_at_which_they_are_done_with() {
        let mut tenants = Tenants::new(2);
        let full = tenant("full.example");
        tenants.enter(&full, false, NOW);
        for _ in 0..40 {
            tenants.enter(&full, false, NOW);
            tenants.left(&full, TimeDelta::milliseconds(100), NOW);
        }
        tenants.enter(&full, false, NOW);

        let wait = later(tenants.enter(&full, false, NOW)) - NOW;

        assert!(wait < TimeDelta::milliseconds(100), "{wait}");
    }

    #[test]
    fn a_tenant_that_is_done_is_forgotten() {
        let mut tenants = Tenants::new(1);
        let tenant = tenant("some.example");

        tenants.enter(&tenant, false, NOW);
        tenants.left(&tenant, TimeDelta::seconds(1), NOW);

        assert!(tenants.rooms.is_empty(), "{tenants:?}");
    }
}
