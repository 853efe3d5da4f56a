//! How instants are stored: as chrono and serde do, in a fraction of the time.
//!
//! A record of a rotation holds a dozen of them, which chrono reads with a parser of every form, and writes digit
//! by digit, each of which the JSON writer looks at as if it might need an escape.

use std::ops::Range;
use std::str::FromStr;

use chrono::{DateTime, Datelike, NaiveDate, NaiveTime, ParseError, Timelike, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::read;

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    Instant::deserialize(from).map(|instant| instant.0)
}

pub(crate) fn serialize<S: Serializer>(at: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    Instant(*at).serialize(to)
}

/// For what may be null. A field that may be missing needs `default` beside this.
pub(crate) mod optional {
    use super::*;

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<DateTime<Utc>>, D::Error> {
        let instant = Option::<Instant>::deserialize(from)?;
        Ok(instant.map(|instant| instant.0))
    }

    pub(crate) fn serialize<S: Serializer>(
        at: &Option<DateTime<Utc>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        at.map(Instant).serialize(to)
    }
}

struct Instant(DateTime<Utc>);

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut text = *b"0000-00-00T00:00:00.000000000Z";
        match write(&self.0, &mut text) {
            Some(text) => to.serialize_str(text),
            None => self.0.serialize(to),
        }
    }
}

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read::text(from)
    }
}

impl FromStr for Instant {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        match plain(text) {
            Some(instant) => Ok(Self(instant)),
            None => text.parse().map(Self),
        }
    }
}

/// Reads `2026-11-28T10:07:42Z`, with up to nine digits after the second.
fn plain(text: &str) -> Option<DateTime<Utc>> {
    let (second, fraction) = text.strip_suffix('Z')?.as_bytes().split_at_checked(19)?;
    let is_plain = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')]
        .iter()
        .all(|(place, mark)| second[*place] == *mark);
    let part = |digits: Range<usize>| number(&second[digits]);
    let (year, month, day) = (part(0..4)?, part(5..7)?, part(8..10)?);
    let date = NaiveDate::from_ymd_opt(i32::try_from(year).ok()?, month, day)?;
    let (hour, minute, second) = (part(11..13)?, part(14..16)?, part(17..19)?);
    let time = NaiveTime::from_hms_nano_opt(hour, minute, second, nanoseconds(fraction)?)?;
    is_plain.then(|| date.and_time(time).and_utc())
}

fn nanoseconds(fraction: &[u8]) -> Option<u32> {
    match fraction {
        [] => Some(0),
        [b'.', digits @ ..] => {
            let missing = 9_usize.checked_sub(digits.len()).filter(|n| *n < 9)?;
            Some(number(digits)? * 10_u32.pow(u32::try_from(missing).ok()?))
        }
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = digit.is_ascii_digit().then(|| digit - b'0')?;
        Some(number * 10 + u32::from(digit))
    })
}

/// Fills an instant in, with as many digits of the second as chrono gives: none, three, six or nine. Returns
/// `None` for a year without four digits, and in a leap second.
fn write<'a>(at: &DateTime<Utc>, text: &'a mut [u8; 30]) -> Option<&'a str> {
    let (date, time) = (at.date_naive(), at.time());
    let year = u32::try_from(date.year()).ok()?;
    let nanosecond = time.nanosecond();
    if year > 9999 || nanosecond >= 1_000_000_000 {
        return None;
    }
    for (place, number) in [
        (0..4, year),
        (5..7, date.month()),
        (8..10, date.day()),
        (11..13, time.hour()),
        (14..16, time.minute()),
        (17..19, time.second()),
        (20..29, nanosecond),
    ] {
        digits(&mut text[place], number);
    }
    let end = match nanosecond {
        0 => 19,
        n if n % 1_000_000 == 0 => 23,
        n if n % 1000 == 0 => 26,
        _ => 29,
    };
    text[end] = b'Z';
    std::str::from_utf8(&text[..=end]).ok()
}

fn digits(places: &mut [u8], mut number: u32) {
    for place in places.iter_mut().rev() {
        *place = b"0123456789"[(number % 10) as usize];
        number /= 10;
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<DateTime<Utc>> {
        let json = serde_json::to_string(text).unwrap();
        deserialize(&mut serde_json::Deserializer::from_str(&json)).ok()
    }

    fn written(at: DateTime<Utc>) -> String {
        let optional = optional::serialize(&Some(at), serde_json::value::Serializer).unwrap();
        let text = serialize(&at, serde_json::value::Serializer).unwrap();
        assert_eq!(text, optional);
        text.as_str().unwrap().to_owned()
    }

    fn as_chrono_does(at: DateTime<Utc>) -> String {
        let text = serde_json::to_value(at).unwrap();
        text.as_str().unwrap().to_owned()
    }

    #[test]
    fn instants_at_the_edges_are_written_as_chrono_does() {
        let last: DateTime<Utc> = "9999-12-31T23:59:59.999999999Z".parse().unwrap();
        for at in [
            DateTime::UNIX_EPOCH,
            DateTime::<Utc>::MIN_UTC,
            DateTime::<Utc>::MAX_UTC,
            last,
            last + TimeDelta::nanoseconds(1),
            "0000-01-01T00:00:00Z".parse().unwrap(),
            "-0001-12-31T23:59:59Z".parse().unwrap(),
            "2016-12-31T23:59:60.5Z".parse().unwrap(),
        ] {
            assert_eq!(written(at), as_chrono_does(at));
        }
    }

    #[test]
    fn every_form_is_read_as_chrono_reads_it() {
        for text in [
            "2026-11-28T10:07:42Z",
            "2026-11-28T10:07:42.5Z",
            "2026-11-28T10:07:42.123456789Z",
            "2026-11-28T10:07:42.1234567891Z",
            "2026-11-28T10:07:42.Z",
            "2026-11-28T10:07:42,5Z",
            "2026-11-28t10:07:42z",
            "2026-11-28 10:07:42Z",
            "2026-11-28T12:07:42+02:00",
            "2024-02-29T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2016-12-31T23:59:60Z",
            "2026-11-28T24:00:00Z",
            "+12026-11-28T10:07:42Z",
            "-0001-11-28T10:07:42Z",
            "+026-11-28T10:07:42Z",
            "2026-11-28T10:07Z",
            "2026-11-28T10:07:4\u{e4}Z",
            "2026/11/28T10:07:42Z",
            "tomorrow",
            "",
            "Z",
        ] {
            assert_eq!(read(text), text.parse().ok(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_chrono_writes_is_written_and_read_without_it(seconds in 0..253_402_300_800_i64, nanos in prop_oneof![
            Just(0),
            (0_u32..1_000).prop_map(|millis| millis * 1_000_000),
            (0_u32..1_000_000).prop_map(|micros| micros * 1_000),
            0_u32..1_000_000_000,
        ]) {
            let at = DateTime::from_timestamp(seconds, nanos).unwrap();
            let text = as_chrono_does(at);
            prop_assert_eq!(written(at), text.as_str());
            prop_assert_eq!(plain(&text), Some(at));
        }

        #[test]
        fn what_is_not_quite_an_instant_is_read_as_chrono_reads_it(
            text in "[0-2][0-9]{3}[-0-9][01][0-9]-[0-3][0-9][T0-9][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?[Z0-9]"
        ) {
            prop_assert_eq!(read(&text), text.parse().ok());
        }
    }
}
