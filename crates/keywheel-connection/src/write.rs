//! How dates are stored: as chrono writes them, in a fraction of the time.
//!
//! chrono hands a text over digit by digit, and the JSON writer looks at each as if it might need an escape.
//! That took half the time of writing a journal entry, and a record has up to thirty dates.

use chrono::{DateTime, Datelike, Timelike, Utc};
use serde::{Serialize, Serializer};

pub(crate) fn date<S: Serializer>(date: &DateTime<Utc>, to: S) -> Result<S::Ok, S::Error> {
    let mut text = *b"0000-00-00T00:00:00.000000000Z";
    match rfc3339(date, &mut text) {
        Some(text) => to.serialize_str(text),
        None => date.serialize(to),
    }
}

pub(crate) fn some_date<S: Serializer>(
    some: &Option<DateTime<Utc>>,
    to: S,
) -> Result<S::Ok, S::Error> {
    struct Date<'a>(&'a DateTime<Utc>);

    impl Serialize for Date<'_> {
        fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
            date(self.0, to)
        }
    }

    some.as_ref().map(Date).serialize(to)
}

/// Fills a date in, with as many digits of the second as chrono gives: none, three, six or nine. Returns
/// `None` for a year without four digits, and in a leap second.
fn rfc3339<'a>(at: &DateTime<Utc>, text: &'a mut [u8; 30]) -> Option<&'a str> {
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

    fn written(at: DateTime<Utc>) -> String {
        #[derive(Serialize)]
        struct Dates {
            #[serde(serialize_with = "date")]
            one: DateTime<Utc>,
            #[serde(serialize_with = "some_date")]
            other: Option<DateTime<Utc>>,
        }

        let dates = Dates {
            one: at,
            other: Some(at),
        };
        serde_json::to_string(&dates).unwrap()
    }

    fn as_chrono_does(at: DateTime<Utc>) -> String {
        let at = serde_json::to_string(&at).unwrap();
        format!("{{\"one\":{at},\"other\":{at}}}")
    }

    #[test]
    fn dates_at_the_edges_are_written_as_chrono_does() {
        let leap = "2016-12-31T23:59:60.5Z".parse().unwrap();
        let last: DateTime<Utc> = "9999-12-31T23:59:59.999999999Z".parse().unwrap();
        for at in [
            DateTime::UNIX_EPOCH,
            DateTime::<Utc>::MIN_UTC,
            DateTime::<Utc>::MAX_UTC,
            leap,
            last,
            last + TimeDelta::nanoseconds(1),
            "0000-01-01T00:00:00Z".parse().unwrap(),
            "-0001-12-31T23:59:59Z".parse().unwrap(),
        ] {
            assert_eq!(written(at), as_chrono_does(at));
        }
    }

    proptest! {
        #[test]
        fn dates_are_written_as_chrono_does(
            second in -70_000_000_000_i64..300_000_000_000,
            (number, unit) in prop_oneof![
                (Just(0_u32), Just(1_u32)),
                (0..1000_u32, Just(1_000_000)),
                (0..1_000_000_u32, Just(1000)),
                (0..1_000_000_000_u32, Just(1)),
            ],
        ) {
            let at = DateTime::from_timestamp(second, number * unit).unwrap();
            prop_assert_eq!(written(at), as_chrono_does(at));
        }
    }
}
