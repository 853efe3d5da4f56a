use std::fmt::{self, Display};
use std::sync::{Arc, LazyLock, OnceLock};

use chrono::{DateTime, Offset, TimeZone};

use crate::InvalidSchedule;

mod chrono_data;
mod suggest;
mod table;

use self::chrono_data as tzdb;
pub(crate) use self::table::{Abbreviation, END, Kind, Moment, Table, Wall};

/// A time zone: its name, and every change of its clock from 1970 to 2100.
///
/// [`Zone::named`] knows the IANA zones. Their changes are worked out on first use, kept for the life of
/// the process in less than 4 KiB a zone, and shared: a clone is a pointer. [`Zone::new`] takes any
/// [`chrono::TimeZone`].
#[derive(Clone)]
pub struct Zone(Arc<Named>);

struct Named {
    name: Box<str>,
    table: Table,
}

/// The zones of the time zone database, sorted by name, each filled in when it is first asked for.
static ZONES: LazyLock<Vec<(&'static str, OnceLock<Zone>)>> = LazyLock::new(|| {
    let mut names: Vec<_> = tzdb::names().collect();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| (name, OnceLock::new()))
        .collect()
});

impl Zone {
    /// Returns the zone with this IANA name, such as `"Europe/Berlin"` or `"UTC"`.
    ///
    /// # Errors
    /// Field `zone`, when the time zone database has no such name; near names are suggested. A text that
    /// resembles no name is not repeated: people paste secrets into the wrong box.
    pub fn named(name: &str) -> Result<Self, InvalidSchedule> {
        let index = ZONES
            .binary_search_by(|(known, _)| (*known).cmp(name))
            .map_err(|_| unknown(name))?;
        let (name, zone) = &ZONES[index];
        Ok(zone.get_or_init(|| tzdb::zone(name)).clone())
    }

    /// Returns a zone with the rules of `rules`: of newer data, of a test, of no country at all.
    ///
    /// Its clock is read once a day from 1970 to 2100, and each change is then found to the second; a
    /// change that is undone within a day may go unseen. Keep the zone and clone it: nothing is shared
    /// between two that are made.
    ///
    /// ```
    /// use chrono::FixedOffset;
    /// use keywheel_schedule::Zone;
    ///
    /// let ship = Zone::new("Ship", &FixedOffset::east_opt(5 * 3600).unwrap());
    /// assert_eq!(ship.name(), "Ship");
    /// ```
    #[must_use]
    pub fn new<Z: TimeZone>(name: &str, rules: &Z) -> Self
    where
        Z::Offset: Display,
    {
        let kind = |utc: i64| {
            let utc = DateTime::from_timestamp(utc, 0).unwrap_or_default();
            let offset = rules.offset_from_utc_datetime(&utc.naive_utc());
            Kind::new(offset.fix().local_minus_utc(), &offset)
        };
        Self::from_table(name, Table::scan(kind))
    }

    fn from_table(name: &str, table: Table) -> Self {
        Self(Arc::new(Named {
            name: name.into(),
            table,
        }))
    }

    /// Returns the name, as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    pub(crate) fn table(&self) -> &Table {
        &self.0.table
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Zone").field(&self.0.name).finish()
    }
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
            || (self.0.name == other.0.name && self.0.table == other.0.table)
    }
}

impl Eq for Zone {}

/// Returns the release of the time zone database that [`Zone::named`] answers from, such as `"2025b"`.
#[must_use]
pub fn tzdb_version() -> &'static str {
    tzdb::version()
}

fn unknown(name: &str) -> InvalidSchedule {
    let near = suggest::near(name, ZONES.iter().map(|(known, _)| *known));
    let problem = if near.is_empty() {
        "not a time zone; give an IANA name such as Europe/Berlin".to_owned()
    } else {
        let version = tzdb_version();
        let near = near.join(" or ");
        format!("\"{name}\" is not in tzdb {version}; did you mean {near}?")
    };
    InvalidSchedule::new("zone", problem)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOURS_BEFORE: i64 = 24;
    const HOURS_SINCE_1970: i64 = 130 * 8766 + 24;

    fn message(name: &str) -> String {
        Zone::named(name).unwrap_err().to_string()
    }

    #[test]
    fn a_near_name_is_suggested() {
        for (given, meant) in [
            ("Europe/Berln", "Europe/Berlin"),
            ("europe/berlin", "Europe/Berlin"),
            ("Berlin", "Europe/Berlin"),
            ("America/New York", "America/New_York"),
            ("Asia/Calcuta", "Asia/Calcutta"),
            ("utc", "UTC"),
        ] {
            let message = message(given);
            assert!(message.starts_with("zone: "), "{message}");
            assert!(message.contains(meant), "{given}: {message}");
        }
    }

    #[test]
    fn a_text_that_is_near_no_name_is_not_repeated() {
        for secret in ["Xq~8Q-9hFe.Zr3TnV0wLkPq7sYb2mC4dU6aGiJoE", "", "ГРИНВИЧ"] {
            let message = message(secret);
            assert!(secret.is_empty() || !message.contains(secret), "{message}");
            assert!(message.ends_with("such as Europe/Berlin"), "{message}");
        }
    }

    #[test]
    fn a_zone_is_worked_out_once_and_shared() {
        let [a, b] = [(); 2].map(|()| Zone::named("Asia/Tokyo").unwrap());

        assert!(Arc::ptr_eq(&a.0, &b.0));
    }

    #[test]
    fn a_table_agrees_with_the_clock_that_it_was_read_from() {
        let full = std::env::var_os("KEYWHEEL_TEST_FULL").is_some();
        let (zones, hours) = if full { (1, 1) } else { (7, 29) };
        for tz in chrono_tz::TZ_VARIANTS.iter().step_by(zones) {
            let zone = Zone::new(tz.name(), tz);
            for at in (-HOURS_BEFORE..HOURS_SINCE_1970)
                .step_by(hours)
                .map(|hour| hour * 3600)
            {
                let utc = DateTime::from_timestamp(at, 0).unwrap().naive_utc();
                let offset = tz.offset_from_utc_datetime(&utc);
                let kind = Kind::new(offset.fix().local_minus_utc(), &offset);
                assert_eq!(zone.table().kind_at(at), kind, "{tz} {utc}");
            }
        }
    }

    #[test]
    fn every_zone_takes_less_than_4_kib() {
        for (name, _) in ZONES.iter() {
            let bytes =
                Zone::named(name).unwrap().table().bytes() + size_of::<Named>() + name.len();
            assert!(bytes < 4096, "{name}: {bytes}");
        }
    }
}
