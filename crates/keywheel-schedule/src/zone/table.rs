use std::fmt::{self, Display, Write};

use chrono::{DateTime, Offset, TimeZone};

use crate::day::DAY;

/// The table begins here, in seconds of Unix time: 2 December 1969. All times in it are `u32` from here,
/// which reach into 2106.
pub(super) const BASE: i64 = -30 * DAY;
/// The clock is read up to here: 31 January 2100.
pub(crate) const END: i64 = 4_102_444_800 + 30 * DAY;

/// How a zone's clock stands for some time: its distance from UTC, and what people call that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Seconds east of UTC.
    pub(crate) offset: i32,
    pub(crate) abbreviation: Abbreviation,
}

impl Kind {
    fn of(offset: &(impl Offset + Display)) -> Self {
        Self::new(offset.fix().local_minus_utc(), offset)
    }

    pub(crate) fn new(offset: i32, abbreviation: &impl Display) -> Self {
        let abbreviation =
            Abbreviation::new(abbreviation).unwrap_or_else(|| Abbreviation::numeric(offset));
        Self {
            offset,
            abbreviation,
        }
    }
}

/// `CET`, `EST`, `+0530`: at most seven bytes, kept in place so that an answer owns nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Abbreviation {
    bytes: [u8; 7],
    len: u8,
}

impl Abbreviation {
    fn new(text: &impl Display) -> Option<Self> {
        let mut short = Self {
            bytes: [0; 7],
            len: 0,
        };
        write!(short, "{text}").ok()?;
        (short.len > 0).then_some(short)
    }

    /// `+05:30`, where the zone's own text is too long.
    fn numeric(offset: i32) -> Self {
        let sign = if offset < 0 { '-' } else { '+' };
        let minutes = offset.unsigned_abs() / 60;
        let text = format_args!("{sign}{:02}:{:02}", minutes / 60, minutes % 60).to_string();
        Self::new(&text).unwrap_or(Self {
            bytes: [b'?'; 7],
            len: 1,
        })
    }

    pub(crate) fn as_str(&self) -> &str {
        str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("?")
    }
}

impl Write for Abbreviation {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let start = usize::from(self.len);
        let end = start + text.len();
        self.bytes
            .get_mut(start..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end as u8;
        Ok(())
    }
}

impl fmt::Debug for Abbreviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// An instant, in seconds of Unix time, and how the clock stands then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    pub(crate) at: i64,
    pub(crate) kind: Kind,
}

impl Moment {
    /// What the clock shows, in seconds.
    pub(crate) fn wall(&self) -> i64 {
        self.at + i64::from(self.kind.offset)
    }
}

/// A wall-clock time, looked up: when does the clock show it?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wall {
    /// The clock jumps over it, from `before` to what it shows at the moment of the jump.
    Never {
        before: i64,
        jump: Moment,
    },
    Once(Moment),
    Twice {
        first: Moment,
        last: Moment,
    },
}

/// Every change of one zone's clock, for bisection both by instant and by wall-clock time.
///
/// Time is cut into segments in which the clock's distance from UTC does not change. A zone has some 260
/// of them at ten bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Table {
    /// The instant at which each segment ends, from `BASE`; the last never does.
    ends: Box<[u32]>,
    /// The latest time that the wall clock has shown when each segment ends. It never falls, although the
    /// clock does, and so can be searched.
    wall_ends: Box<[u32]>,
    /// The index in `kinds` for each segment.
    kind_of: Box<[u16]>,
    kinds: Box<[Kind]>,
    lowest_offset: i64,
    highest_offset: i64,
}

impl Table {
    /// Reads a clock once a day, and finds each change to the second.
    pub(crate) fn read<Z: TimeZone>(rules: &Z) -> Self
    where
        Z::Offset: Display + PartialEq,
    {
        let offset = |at| {
            let utc = DateTime::from_timestamp(at, 0).unwrap_or_default();
            rules.offset_from_utc_datetime(&utc.naive_utc())
        };
        let mut last = offset(BASE);
        let mut segments = vec![(BASE, Kind::of(&last))];
        let mut seen = BASE;
        while seen < END {
            if offset(seen + DAY) == last {
                seen += DAY;
                continue;
            }
            seen = first_change(offset, &last, seen, seen + DAY);
            last = offset(seen);
            segments.push((seen, Kind::of(&last)));
        }
        Self::new(segments)
    }

    /// Makes the table of segments, each given by its first instant; the first begins at `BASE`.
    pub(crate) fn new(mut segments: Vec<(i64, Kind)>) -> Self {
        // Where only the law changes from standard to summer time, the clock shows nothing of it.
        segments.dedup_by_key(|(_, kind)| *kind);
        let mut kinds: Vec<Kind> = Vec::new();
        let mut kind_of = Vec::with_capacity(segments.len());
        let mut ends = Vec::with_capacity(segments.len());
        let mut wall_ends = Vec::with_capacity(segments.len());
        let mut latest = 0;
        for (i, (_, kind)) in segments.iter().enumerate() {
            let index = kinds.iter().position(|known| known == kind);
            kind_of.push(index.unwrap_or(kinds.len()) as u16);
            if index.is_none() {
                kinds.push(*kind);
            }
            let end = segments.get(i + 1).map(|(start, _)| *start);
            ends.push(end.map_or(u32::MAX, from_base));
            latest = end.map_or(u32::MAX, |end| {
                from_base(end + i64::from(kind.offset)).max(latest)
            });
            wall_ends.push(latest);
        }
        let offsets = || kinds.iter().map(|kind| i64::from(kind.offset));
        Self {
            lowest_offset: offsets().min().unwrap_or(0),
            highest_offset: offsets().max().unwrap_or(0),
            ends: ends.into(),
            wall_ends: wall_ends.into(),
            kind_of: kind_of.into(),
            kinds: kinds.into(),
        }
    }

    /// No clock of this zone was ever less than this far east of UTC, in seconds.
    pub(crate) fn lowest_offset(&self) -> i64 {
        self.lowest_offset
    }

    pub(crate) fn highest_offset(&self) -> i64 {
        self.highest_offset
    }

    /// Returns how the clock stands at an instant.
    pub(crate) fn kind_at(&self, at: i64) -> Kind {
        let at = from_base(at);
        self.kind(self.ends.partition_point(|end| *end <= at))
    }

    /// Returns the end of the segment in which an instant lies: until then the clock runs evenly.
    pub(crate) fn next_change(&self, at: i64) -> i64 {
        let at = from_base(at);
        self.end(self.ends.partition_point(|end| *end <= at))
    }

    /// Returns when the clock shows `wall`.
    pub(crate) fn at_wall(&self, wall: i64) -> Wall {
        let key = from_base(wall);
        let segment = self.wall_ends.partition_point(|end| *end <= key);
        let first = self.showing(wall, segment);
        if segment > 0 && first.at < self.start(segment) {
            return Wall::Never {
                before: i64::from(self.wall_ends[segment - 1]) + BASE,
                jump: Moment {
                    at: self.start(segment),
                    ..first
                },
            };
        }
        match self.last_at_wall(wall, segment) {
            None => Wall::Once(first),
            Some(last) => Wall::Twice { first, last },
        }
    }

    /// Returns the last moment after the segment at which the clock shows `wall`, if there is one. No two
    /// clocks are two days apart.
    fn last_at_wall(&self, wall: i64, segment: usize) -> Option<Moment> {
        (segment + 1..self.ends.len())
            .take_while(|later| self.start(*later) <= wall + 2 * DAY)
            .map(|later| (later, self.showing(wall, later)))
            .filter(|(later, moment)| (self.start(*later)..self.end(*later)).contains(&moment.at))
            .map(|(_, moment)| moment)
            .last()
    }

    /// Returns when the clock would show `wall` if it always stood as in this segment.
    fn showing(&self, wall: i64, segment: usize) -> Moment {
        let kind = self.kind(segment);
        Moment {
            at: wall - i64::from(kind.offset),
            kind,
        }
    }

    /// Returns the instants at which the clock changes.
    pub(crate) fn changes(&self) -> impl Iterator<Item = i64> {
        (1..self.ends.len()).map(|segment| self.start(segment))
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        size_of_val(&*self.ends)
            + size_of_val(&*self.wall_ends)
            + size_of_val(&*self.kind_of)
            + size_of_val(&*self.kinds)
    }

    /// The last segment has no end, so that a search never runs past it.
    fn kind(&self, segment: usize) -> Kind {
        self.kinds[usize::from(self.kind_of[segment])]
    }

    fn start(&self, segment: usize) -> i64 {
        segment
            .checked_sub(1)
            .map_or(BASE, |before| self.end(before))
    }

    fn end(&self, segment: usize) -> i64 {
        i64::from(self.ends[segment]) + BASE
    }
}

/// Returns the first second in `(from, to]` at which the clock no longer stands as `before`.
fn first_change<T: PartialEq>(offset: impl Fn(i64) -> T, before: &T, from: i64, to: i64) -> i64 {
    let (mut from, mut to) = (from, to);
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        if offset(middle) == *before {
            from = middle;
        } else {
            to = middle;
        }
    }
    to
}

fn from_base(seconds: i64) -> u32 {
    // One less than the end of the last segment, so that a search always finds a segment.
    (seconds - BASE).clamp(0, i64::from(u32::MAX - 1)) as u32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Clocks that no country would keep: changes of up to a day and a half, hours apart.
    fn segments() -> impl Strategy<Value = Vec<(i64, Kind)>> {
        let kind = |quarters: i32| Kind::new(quarters * 900, &"X");
        prop::collection::vec((1_i64..200, -70..70_i32), 1..8).prop_map(move |steps| {
            let mut at = 10 * DAY;
            let later = steps.into_iter().map(|(quarters, offset)| {
                at += quarters * 900;
                (at, kind(offset))
            });
            let mut segments = vec![(BASE, kind(0))];
            segments.extend(later);
            segments.dedup_by_key(|(_, kind)| *kind);
            segments
        })
    }

    fn clock(segments: &[(i64, Kind)], at: i64) -> i64 {
        let (_, kind) = segments.iter().rfind(|(start, _)| *start <= at).unwrap();
        at + i64::from(kind.offset)
    }

    proptest! {
        #[test]
        fn a_wall_time_is_met_when_the_clock_first_shows_it_or_later(
            segments in segments(), quarter in -200_i64..2_000,
        ) {
            let (table, wall) = (Table::new(segments.clone()), 10 * DAY + quarter * 900);
            // All is in quarters of an hour, so every quarter can be looked at.
            let quarters = || (5 * DAY..40 * DAY).step_by(900);

            let first = quarters().find(|at| clock(&segments, *at) >= wall).unwrap();
            let last = quarters().filter(|at| clock(&segments, *at) == wall).last();
            match table.at_wall(wall) {
                Wall::Once(moment) => prop_assert_eq!((moment.at, Some(moment.at)), (first, last)),
                Wall::Twice { first: a, last: b } => {
                    prop_assert_eq!((a.at, Some(b.at)), (first, last));
                    prop_assert_eq!(b.wall(), wall);
                }
                Wall::Never { before, jump } => {
                    prop_assert_eq!(jump.at, first);
                    prop_assert!(before <= wall && wall < jump.wall());
                }
            }
        }

        #[test]
        fn the_clock_runs_evenly_until_the_next_change(segments in segments(), at in 0_i64..20 * DAY) {
            let table = Table::new(segments.clone());
            let (kind, until) = (table.kind_at(at), table.next_change(at));

            prop_assert_eq!(at + i64::from(kind.offset), clock(&segments, at));
            prop_assert!(until > at);
            prop_assert_eq!(table.kind_at(until - 1), kind);
            prop_assert!(table.changes().all(|change| change <= at || change >= until));
        }
    }

    #[test]
    fn names_that_are_too_long_or_missing_become_numbers() {
        let name = |offset, text: &str| Kind::new(offset, &text).abbreviation.as_str().to_owned();

        assert_eq!(name(3600, "CET"), "CET");
        assert_eq!(name(-12_600, "Newfoundland"), "-03:30");
        assert_eq!(name(20_700, ""), "+05:45");
        assert_eq!(name(0, "ÄÖÜÄÖÜ"), "+00:00");
    }
}
