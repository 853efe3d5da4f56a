use std::ops::Range;
use std::str::FromStr;

use chrono::{DateTime, NaiveDate, NaiveTime, ParseError, Utc};
use serde::{Deserialize, Deserializer};

/// Reads an instant as serde does, in a tenth of the time when it is written as we write it. A record of a
/// rotation holds a dozen of them, and chrono's parser of every form took a quarter of the time to read it.
pub(crate) fn instant<'de, D: Deserializer<'de>>(from: D) -> Result<DateTime<Utc>, D::Error> {
    Instant::deserialize(from).map(|instant| instant.0)
}

/// Reads what may be null. A field that may be missing needs `default` beside this.
pub(crate) fn optional_instant<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<DateTime<Utc>>, D::Error> {
    let instant = Option::<Instant>::deserialize(from)?;
    Ok(instant.map(|instant| instant.0))
}

struct Instant(DateTime<Utc>);

impl<'de> Deserialize<'de> for Instant {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        super::text(from)
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Option<DateTime<Utc>> {
        let json = serde_json::to_string(text).unwrap();
        instant(&mut serde_json::Deserializer::from_str(&json)).ok()
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
        fn what_serde_writes_is_read_without_chrono(seconds in 0..253_402_300_800_i64, nanos in prop_oneof![
            Just(0),
            (0_u32..1_000).prop_map(|millis| millis * 1_000_000),
            (0_u32..1_000_000).prop_map(|micros| micros * 1_000),
            0_u32..1_000_000_000,
        ]) {
            let at = DateTime::from_timestamp(seconds, nanos).unwrap();
            let text = serde_json::to_value(at).unwrap();
            prop_assert_eq!(plain(text.as_str().unwrap()), Some(at));
        }

        #[test]
        fn what_is_not_quite_an_instant_is_read_as_chrono_reads_it(
            text in "[0-2][0-9]{3}[-0-9][01][0-9]-[0-3][0-9][T0-9][0-2][0-9]:[0-6][0-9]:[0-6][0-9](\\.[0-9]{0,10})?[Z0-9]"
        ) {
            prop_assert_eq!(read(&text), text.parse().ok());
        }
    }
}
