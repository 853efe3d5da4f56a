use chrono::{DateTime, Offset};

use super::table::Kind;
use super::*;
use crate::Schedule;

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
fn every_zone_takes_less_than_4_kib() {
    for (name, _) in ZONES.iter() {
        let bytes = Zone::named(name).unwrap().table().bytes() + size_of::<Named>() + name.len();
        assert!(bytes < 4096, "{name}: {bytes}");
    }
}

#[test]
fn a_table_agrees_with_the_clock_that_it_was_read_from() {
    let full = std::env::var_os("KEYWHEEL_TEST_FULL").is_some();
    let (zones, hours) = if full { (1, 1) } else { (7, 29) };
    for tz in chrono_tz::TZ_VARIANTS.iter().step_by(zones) {
        let table = Table::read(tz);
        for hour in (-24..130 * 8766 + 24).step_by(hours) {
            let utc = DateTime::from_timestamp(hour * 3600, 0)
                .unwrap()
                .naive_utc();
            let offset = tz.offset_from_utc_datetime(&utc);
            let kind = Kind::new(offset.fix().local_minus_utc(), &offset);
            assert_eq!(table.kind_at(hour * 3600), kind, "{tz} {utc}");
        }
    }
}

#[test]
fn every_zone_of_chrono_has_newer_data() {
    let fresh: Vec<_> = jiff_data::names().collect();

    assert!(jiff_data::version() > chrono_data::version());
    for name in chrono_data::names() {
        assert!(fresh.contains(&name), "{name}");
        assert_eq!(jiff_data::stale(name), None);
    }
}

#[test]
fn the_zones_that_chrono_has_wrong_are_exactly_those_that_are_warned_of() {
    const START_OF_2026: i64 = 1_767_225_600;
    let mut wrong = Vec::new();
    for name in chrono_data::names() {
        let (old, new) = (chrono_data::table(name), jiff_data::table(name));
        let first = old
            .changes()
            .chain(new.changes())
            .filter(|at| *at >= START_OF_2026 && old.kind_at(*at).offset != new.kind_at(*at).offset)
            .min();
        if let Some(at) = first {
            let local = at + new.kind_at(at).offset;
            let date = DateTime::from_timestamp(local, 0).unwrap().date_naive();
            wrong.push((name, date.to_string()));
        }
    }

    let warned: Vec<_> = wrong
        .iter()
        .filter_map(|(name, _)| chrono_data::stale(name))
        .map(|stale| (stale.zone, stale.since.to_owned()))
        .collect();
    assert_eq!(warned, wrong, "write these into chrono_data.rs: {wrong:#?}");
    assert_eq!(
        chrono_data::STALE.len(),
        wrong.len(),
        "others are right by now"
    );
}

#[test]
fn the_changes_of_2026_are_known_or_warned_of() {
    for (zone, after, right) in [
        // British Columbia stays on summer time, Alberta and Manitoba likewise.
        (
            "America/Vancouver",
            "2026-12-01T00:00:00Z",
            "2026-12-01T10:00:00Z",
        ),
        (
            "America/Edmonton",
            "2026-12-01T00:00:00Z",
            "2026-12-01T09:00:00Z",
        ),
        (
            "America/Winnipeg",
            "2026-12-01T00:00:00Z",
            "2026-12-01T08:00:00Z",
        ),
        // Morocco is back on Greenwich time.
        (
            "Africa/Casablanca",
            "2026-12-01T00:00:00Z",
            "2026-12-01T03:00:00Z",
        ),
    ] {
        let schedule = Schedule::builder()
            .every_days(1)
            .at("03:00".parse().unwrap())
            .zone(zone)
            .anchor("2026-01-01".parse().unwrap())
            .build()
            .unwrap();

        let description = schedule.describe(after.parse().unwrap());

        let is_right =
            description.next().unwrap().at() == right.parse::<DateTime<chrono::Utc>>().unwrap();
        let warns = description
            .to_string()
            .contains("turn on the feature `fresh-tzdb`");
        assert_eq!(is_right, cfg!(feature = "fresh-tzdb"), "{description}");
        assert_eq!(warns, !is_right, "{description}");
    }
}
