use crate::day::DAY;
use crate::zone::{END, Table};
use crate::{Freeze, Why, Window};

/// The windows and freezes of a plan: when may a rotation run?
///
/// Both are matters of the wall clock. An instant is found by walking: ask what holds at what the clock
/// shows and until which time, and go there, or to the next change of the clock if that comes first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calendar {
    pub(crate) windows: Vec<Window>,
    pub(crate) freezes: Vec<Freeze>,
}

/// A stretch of time in which a rotation may run, in seconds of Unix time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) start: i64,
    pub(crate) end: i64,
}

/// The end of a stretch that lasts beyond what is known.
const FOREVER: i64 = i64::MAX / 2;

/// Whether a rotation may run, and until when that is certain.
struct Step {
    open: bool,
    until: i64,
}

impl Calendar {
    /// Returns the first time at or after `at` from which a rotation may run, or `None` when there is none
    /// before 2100. It may go on longer than its `end`, which is past `now` and at least `room` after its
    /// start if it goes on that long.
    pub(crate) fn stretch(&self, table: &Table, at: i64, room: i64, now: i64) -> Option<Stretch> {
        // Nearly every plan: the table need not be asked.
        if self.windows.is_empty() && self.freezes.is_empty() {
            return Some(Stretch {
                start: at,
                end: FOREVER,
            });
        }
        let mut start = at;
        let mut step = self.step(table, start);
        while !step.open {
            if step.until > END {
                return None;
            }
            start = step.until;
            step = self.step(table, start);
        }
        let enough = (start + room).max(now + 1);
        let mut end = start;
        while step.open && end < enough {
            end = step.until;
            if end > END {
                return Some(Stretch {
                    start,
                    end: FOREVER,
                });
            }
            step = self.step(table, end);
        }
        Some(Stretch { start, end })
    }

    /// Returns what keeps a rotation from running at an instant, given that something does.
    pub(crate) fn closed_by(&self, table: &Table, at: i64) -> Why {
        let wall = at + table.kind_at(at).offset;
        match self.thaws(wall) {
            Some(_) => Why::Freeze,
            None => Why::Window,
        }
    }

    fn step(&self, table: &Table, at: i64) -> Step {
        let wall = at + table.kind_at(at).offset;
        let step = self.at_wall(wall);
        Step {
            until: step
                .until
                .saturating_add(at - wall)
                .min(table.next_change(at)),
            ..step
        }
    }

    /// What holds at a wall-clock time, and until which.
    fn at_wall(&self, wall: i64) -> Step {
        if let Some(until) = self.thaws(wall) {
            return Step { open: false, until };
        }
        let closes = if self.windows.is_empty() {
            Some(i64::MAX)
        } else {
            self.windows.iter().find_map(|window| window.closes(wall))
        };
        match closes {
            Some(closes) => Step {
                open: true,
                until: closes.min(self.freezes_after(wall)),
            },
            None => Step {
                open: false,
                until: self.opens_after(wall),
            },
        }
    }

    fn opens_after(&self, wall: i64) -> i64 {
        let opens = self.windows.iter().filter_map(|window| window.opens(wall));
        opens.min().unwrap_or(i64::MAX)
    }

    /// Returns when the freeze that holds at `wall` ends, or `None` when none does.
    fn thaws(&self, wall: i64) -> Option<i64> {
        let day = wall.div_euclid(DAY);
        self.freezes
            .iter()
            .map(Freeze::days)
            .find(|(first, last)| (*first..=*last).contains(&day))
            .map(|(_, last)| (last + 1) * DAY)
    }

    /// Returns when the next freeze after `wall` begins.
    fn freezes_after(&self, wall: i64) -> i64 {
        self.freezes
            .iter()
            .map(|freeze| freeze.days().0 * DAY)
            .filter(|start| *start > wall)
            .min()
            .unwrap_or(i64::MAX)
    }
}
