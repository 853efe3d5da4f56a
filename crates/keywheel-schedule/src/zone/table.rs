use std::fmt::{self, Display, Write};

use chrono::{DateTime, Offset, TimeZone};

use crate::day::DAY;

/// The table begins here, in seconds of Unix time: 2 December 1969. All times in it are `u32` from here,
/// which reach into 2106.
pub(super) const BASE: i64 = -30 * DAY;
/// The clock is read up to here: 31 January 2100.
pub(crate) const END: i64 = 4_102_444_800 + 30 * DAY;

/// How a zone's clock stands for some time: its distance from UTC, and what people call that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    /// Seconds east of UTC. Eight bytes, so that a kind is copied as it was written, word for word.
    pub(crate) offset: i64,
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
            offset: offset.into(),
            abbreviation,
        }
    }
}

/// `CET`, `EST`, `+0530`: at most eight bytes, in place and in one word, so that an answer owns nothing and
/// is copied at once.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Abbreviation(u64);

impl Abbreviation {
    const UNKNOWN: Self = Self(b'?' as u64);
    pub(crate) const UTC: Self = Self(u64::from_le_bytes(*b"UTC\0\0\0\0\0"));

    fn new(text: &impl Display) -> Option<Self> {
        let mut short = Short::default();
        write!(short, "{text}").ok()?;
        (short.len > 0).then_some(Self(u64::from_le_bytes(short.bytes)))
    }

    /// `+05:30`, where the zone's own text is too long.
    fn numeric(offset: i32) -> Self {
        let sign = if offset < 0 { '-' } else { '+' };
        let minutes = offset.unsigned_abs() / 60;
        let text = format_args!("{sign}{:02}:{:02}", minutes / 60, minutes % 60).to_string();
        Self::new(&text).unwrap_or(Self::UNKNOWN)
    }
}

#[derive(Default)]
struct Short {
    bytes: [u8; 8],
    len: usize,
}

impl Write for Short {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes
            .get_mut(self.len..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

impl Display for Abbreviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = self.0.to_le_bytes();
        let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        f.write_str(str::from_utf8(text).unwrap_or("?"))
    }
}

impl fmt::Debug for Abbreviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// An instant, in seconds of Unix time, and how the clock stands then.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Moment {
    pub(crate) at: i64,
    pub(crate) kind: Kind,
}

impl Moment {
    /// What the clock shows, in seconds.
    pub(crate) fn wall(&self) -> i64 {
        self.at + self.kind.offset
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

/// Every change of one zone's clock, to be searched both by instant and by wall-clock time.
///
/// Time is cut into segments in which the clock's distance from UTC does not change. A zone has some 260
/// of them at ten bytes. Few begin in one stretch of 194 days, so a search starts at the first that may be
/// meant and looks at one or two, where bisection would look at eight.
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
    /// The segment in which each stretch begins.
    stretches: [u16; STRETCHES],
    lowest_offset: i64,
    highest_offset: i64,
}

/// A stretch is 2^24 seconds, and as many as this make up all of `u32`.
const STRETCHES: usize = 1 << (u32::BITS - STRETCH_BITS);
const STRETCH_BITS: u32 = 24;

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
            latest = end.map_or(u32::MAX, |end| from_base(end + kind.offset).max(latest));
            wall_ends.push(latest);
        }
        let offsets = || kinds.iter().map(|kind| kind.offset);
        Self {
            lowest_offset: offsets().min().unwrap_or(0),
            highest_offset: offsets().max().unwrap_or(0),
            stretches: stretches(&ends),
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
        self.kind(self.segment_at(at))
    }

    /// Returns the end of the segment in which an instant lies: until then the clock runs evenly.
    pub(crate) fn next_change(&self, at: i64) -> i64 {
        self.end(self.segment_at(at))
    }

    /// Returns a wall-clock time such that only later ones are met after `at`.
    ///
    /// That is what the clock shows, or less if it is set back soon. No two clocks are two days apart, so
    /// what happens later than that need not be looked at.
    #[inline]
    pub(crate) fn least_after(&self, at: i64) -> i64 {
        let now = self.segment_at(at);
        let mut lowest = self.kind(now).offset;
        for later in now + 1..self.ends.len() {
            if self.start(later) > at + 2 * DAY {
                break;
            }
            lowest = lowest.min(self.kind(later).offset);
        }
        at + lowest
    }

    /// Returns a wall-clock time such that no later one was met until `at`.
    pub(crate) fn most_until(&self, at: i64) -> i64 {
        let now = self.segment_at(at);
        let mut highest = self.kind(now).offset;
        for earlier in (0..now).rev() {
            if self.end(earlier) < at - 2 * DAY {
                break;
            }
            highest = highest.max(self.kind(earlier).offset);
        }
        at + highest
    }

    /// Returns when the clock shows `wall`.
    #[inline]
    pub(crate) fn at_wall(&self, wall: i64) -> Wall {
        if self.ends.len() == 1 {
            return Wall::Once(self.showing(wall, 0));
        }
        // What ended before the clock, had it always been the fastest of all, showed this has ended.
        let ended = from_base(wall - self.highest_offset);
        let segment = self.search(&self.wall_ends, ended, from_base(wall));
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
            at: wall - kind.offset,
            kind,
        }
    }

    #[inline]
    fn segment_at(&self, at: i64) -> usize {
        if self.ends.len() == 1 {
            // UTC and its like, which never change.
            return 0;
        }
        let at = from_base(at);
        self.search(&self.ends, at, at)
    }

    /// Returns the first segment whose end, in a column of ends, is later than `key`, given that it is none
    /// of those that end before the stretch in which `from` lies.
    #[inline]
    fn search(&self, ends: &[u32], from: u32, key: u32) -> usize {
        let start = usize::from(self.stretches[(from >> STRETCH_BITS) as usize]);
        let ends = &ends[start..];
        let later = ends.iter().position(|end| *end > key);
        start + later.unwrap_or(0)
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

fn stretches(ends: &[u32]) -> [u16; STRETCHES] {
    let mut stretches = [0; STRETCHES];
    for (stretch, first) in (0_u32..).zip(stretches.iter_mut()) {
        *first = ends.partition_point(|end| *end <= stretch << STRETCH_BITS) as u16;
    }
    stretches
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
mod tests;
