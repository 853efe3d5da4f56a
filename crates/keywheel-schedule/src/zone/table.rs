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
    /// Reads the clock of a time zone.
    pub(crate) fn read<Z: TimeZone>(rules: &Z) -> Self
    where
        Z::Offset: Display,
    {
        Self::scan(|at| {
            let utc = DateTime::from_timestamp(at, 0).unwrap_or_default();
            let offset = rules.offset_from_utc_datetime(&utc.naive_utc());
            Kind::new(offset.fix().local_minus_utc(), &offset)
        })
    }

    /// Reads a clock once a day, and finds each change to the second.
    fn scan(kind: impl Fn(i64) -> Kind) -> Self {
        let mut last = kind(BASE);
        let mut segments = vec![(BASE, last)];
        let mut seen = BASE;
        while seen < END {
            let next = seen + DAY;
            if kind(next) == last {
                seen = next;
                continue;
            }
            seen = first_change(&kind, last, seen, next);
            last = kind(seen);
            segments.push((seen, last));
        }
        Self::new(&segments)
    }

    /// Makes the table of segments, each given by its first instant; the first begins at `BASE`.
    pub(crate) fn new(segments: &[(i64, Kind)]) -> Self {
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
fn first_change(kind: impl Fn(i64) -> Kind, before: Kind, mut from: i64, mut to: i64) -> i64 {
    while to - from > 1 {
        let middle = from + (to - from) / 2;
        if kind(middle) == before {
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
