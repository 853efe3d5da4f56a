use chrono::{NaiveDateTime, TimeDelta, TimeZone};

use super::*;
use crate::{Disambiguation, InvalidSchedule};

fn schedule(days: u32, at: &str, zone: &str, anchor: &str) -> Schedule {
    builder(days, at, zone, anchor).build().unwrap()
}

fn builder(days: u32, at: &str, zone: &str, anchor: &str) -> ScheduleBuilder {
    Schedule::builder()
        .every_days(days)
        .at(at.parse().unwrap())
        .zone(zone)
        .anchor(anchor.parse().unwrap())
}

fn daily(at: &str, zone: &str) -> Schedule {
    schedule(1, at, zone, "2020-01-01")
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse::<NaiveDateTime>().unwrap().and_utc()
}

/// Returns the run of the due date `date`, found by both ways of asking.
fn run(schedule: &Schedule, date: &str) -> Option<Occurrence> {
    let date: NaiveDate = date.parse().unwrap();
    let noon = date.and_hms_opt(12, 0, 0).unwrap().and_utc();
    let forwards = schedule
        .upcoming(noon - TimeDelta::days(3))
        .take(6)
        .find(|run| run.asked().date() == date);
    if let Some(run) = forwards {
        assert_eq!(schedule.previous_or_at(run.at()), Some(run));
    }
    forwards
}

fn words(schedule: &Schedule, date: &str) -> String {
    run(schedule, date).unwrap().to_string()
}

#[test]
fn the_answer_is_strictly_later_and_the_previous_is_not_later() {
    let schedule = daily("02:30", "UTC");
    let due = utc("2026-05-05T02:30:00");
    let nanosecond = TimeDelta::nanoseconds(1);

    let next = |after| schedule.next_after(after).unwrap().at();
    assert_eq!(next(due - nanosecond), due);
    assert_eq!(next(due), due + TimeDelta::days(1));
    let previous = |at| schedule.previous_or_at(at).unwrap().at();
    assert_eq!(previous(due), due);
    assert_eq!(previous(due + nanosecond), due);
    assert_eq!(previous(due - nanosecond), due - TimeDelta::days(1));
}

#[test]
fn a_time_in_a_gap_runs_when_the_clock_jumps() {
    assert_eq!(
        words(&daily("02:30", "Europe/Berlin"), "2026-03-29"),
        "Sun 2026-03-29 03:00 CEST = 01:00 UTC (02:30 does not exist on this date)"
    );
    assert_eq!(
        words(&daily("02:15", "Australia/Lord_Howe"), "2026-10-04"),
        "Sun 2026-10-04 02:30 +11 = Sat 2026-10-03 15:30 UTC (02:15 does not exist on this date)"
    );
    assert_eq!(
        words(&daily("02:00", "Antarctica/Troll"), "2026-03-29"),
        "Sun 2026-03-29 03:00 +02 = 01:00 UTC (02:00 does not exist on this date)"
    );
}

#[test]
fn the_edges_of_a_gap_are_exact() {
    for at in ["01:59:59", "03:00"] {
        let run = run(&daily(at, "Europe/Berlin"), "2026-03-29").unwrap();
        assert_eq!(run.resolution(), Resolution::Exact, "{run}");
    }
    for at in ["02:00", "02:59:59"] {
        let run = run(&daily(at, "Europe/Berlin"), "2026-03-29").unwrap();
        assert_eq!(run.resolution(), Resolution::AfterGap, "{run}");
        assert_eq!(run.at(), utc("2026-03-29T01:00:00"));
    }
}

#[test]
fn a_gap_at_midnight_runs_on_its_own_date() {
    assert_eq!(
        words(&daily("00:00", "America/Sao_Paulo"), "2018-11-04"),
        "Sun 2018-11-04 01:00 -02 = 03:00 UTC (00:00 does not exist on this date)"
    );
    assert_eq!(
        words(&daily("00:30", "Africa/Cairo"), "2026-04-24"),
        "Fri 2026-04-24 01:00 EEST = Thu 2026-04-23 22:00 UTC (00:30 does not exist on this date)"
    );
}

#[test]
fn a_time_that_repeats_runs_the_first_time() {
    assert_eq!(
        words(&daily("02:30", "Europe/Berlin"), "2026-10-25"),
        "Sun 2026-10-25 02:30 CEST = 00:30 UTC (02:30 happens twice; the first)"
    );
    // Clocks go back from midnight: the repeated hour belongs to the evening before.
    assert_eq!(
        words(&daily("23:30", "America/Sao_Paulo"), "2018-02-17"),
        "Sat 2018-02-17 23:30 -02 = Sun 2018-02-18 01:30 UTC (23:30 happens twice; the first)"
    );
}

#[test]
fn half_an_hour_and_two_hours_repeat_too() {
    assert_eq!(
        words(&daily("01:45", "Australia/Lord_Howe"), "2026-04-05"),
        "Sun 2026-04-05 01:45 +11 = Sat 2026-04-04 14:45 UTC (01:45 happens twice; the first)"
    );
    assert_eq!(
        words(&daily("01:00", "Antarctica/Troll"), "2026-10-25"),
        "Sun 2026-10-25 01:00 +02 = Sat 2026-10-24 23:00 UTC (01:00 happens twice; the first)"
    );
    assert_eq!(
        words(&daily("03:00", "Antarctica/Troll"), "2026-10-25"),
        "Sun 2026-10-25 03:00 +00 = 03:00 UTC"
    );
}

#[test]
fn dublin_has_standard_time_in_summer_and_it_makes_no_difference() {
    let dublin = daily("01:30", "Europe/Dublin");

    for (date, expected) in [
        ("2026-01-15", "Thu 2026-01-15 01:30 GMT = 01:30 UTC"),
        (
            "2026-03-29",
            "Sun 2026-03-29 02:00 IST = 01:00 UTC (01:30 does not exist on this date)",
        ),
        ("2026-07-15", "Wed 2026-07-15 01:30 IST = 00:30 UTC"),
        (
            "2026-10-25",
            "Sun 2026-10-25 01:30 IST = 00:30 UTC (01:30 happens twice; the first)",
        ),
    ] {
        assert_eq!(words(&dublin, date), expected);
    }
}

#[test]
fn casablanca_pauses_its_summer_time_in_ramadan() {
    let casablanca = daily("02:30", "Africa/Casablanca");

    for (date, expected) in [
        (
            "2025-02-23",
            "Sun 2025-02-23 02:30 +01 = 01:30 UTC (02:30 happens twice; the first)",
        ),
        ("2025-03-10", "Mon 2025-03-10 02:30 +00 = 02:30 UTC"),
        (
            "2025-04-06",
            "Sun 2025-04-06 03:00 +01 = 02:00 UTC (02:30 does not exist on this date)",
        ),
    ] {
        assert_eq!(words(&casablanca, date), expected);
    }
}

#[test]
fn a_new_year_begins_26_hours_earlier_in_the_east_than_in_the_west() {
    let year = |zone| schedule(1, "00:00", zone, "2027-01-01");

    let [east, west] =
        ["Pacific/Kiritimati", "Etc/GMT+12"].map(|zone| run(&year(zone), "2027-01-01").unwrap());

    assert_eq!(
        east.to_string(),
        "Fri 2027-01-01 00:00 +14 = Thu 2026-12-31 10:00 UTC"
    );
    assert_eq!(west.to_string(), "Fri 2027-01-01 00:00 -12 = 12:00 UTC");
    assert_eq!(west.at() - east.at(), TimeDelta::hours(26));
}

#[test]
fn the_last_of_two_is_taken_on_request() {
    let rules = Disambiguation {
        fold: Repeated::Last,
        ..Disambiguation::default()
    };
    let last = builder(1, "02:30", "Europe/Berlin", "2026-01-01")
        .disambiguation(rules)
        .build()
        .unwrap();

    assert_eq!(
        words(&last, "2026-10-25"),
        "Sun 2026-10-25 02:30 CET = 01:30 UTC (02:30 happens twice; the last)"
    );
}

#[test]
fn a_date_that_the_zone_skipped_runs_at_the_start_of_the_next() {
    for (zone, date, expected) in [
        (
            "Pacific/Apia",
            "2011-12-30",
            "Sat 2011-12-31 00:00 +14 = Fri 2011-12-30 10:00 UTC (2011-12-30 does not exist here)",
        ),
        (
            "Pacific/Kwajalein",
            "1993-08-21",
            "Sun 1993-08-22 00:00 +12 = Sat 1993-08-21 12:00 UTC (1993-08-21 does not exist here)",
        ),
    ] {
        assert_eq!(words(&daily("02:30", zone), date), expected);
    }
}

#[test]
fn two_due_dates_on_one_instant_are_one_run() {
    let midnight = daily("00:00", "Pacific/Apia");

    let runs: Vec<_> = midnight
        .upcoming(utc("2011-12-29T00:00:00"))
        .map(|run| (run.asked().to_string(), run.resolution()))
        .take(3)
        .collect();

    assert_eq!(
        runs,
        [
            ("2011-12-29 00:00:00".to_owned(), Resolution::Exact),
            ("2011-12-31 00:00:00".to_owned(), Resolution::Exact),
            ("2012-01-01 00:00:00".to_owned(), Resolution::Exact),
        ]
    );
    assert_eq!(run(&midnight, "2011-12-30"), None);
}

#[test]
fn missing_times_are_left_out_on_request() {
    let skipping = |gap, skipped_date| {
        let mut rules = Disambiguation::default();
        (rules.gap, rules.skipped_date) = (gap, skipped_date);
        move |zone| {
            builder(1, "02:30", zone, "2026-01-01")
                .disambiguation(rules)
                .build()
                .unwrap()
        }
    };

    let gaps = skipping(Missing::Skip, Missing::After);
    assert_eq!(run(&gaps("Europe/Berlin"), "2026-03-29"), None);
    assert!(run(&gaps("Pacific/Apia"), "2011-12-30").is_some());
    let dates = skipping(Missing::After, Missing::Skip);
    assert!(run(&dates("Europe/Berlin"), "2026-03-29").is_some());
    assert_eq!(run(&dates("Pacific/Apia"), "2011-12-30"), None);
}

#[test]
fn a_rejected_time_is_refused_with_its_date() {
    let refuse = |days, at, zone, anchor, gap, fold| {
        let mut rules = Disambiguation::default();
        (rules.gap, rules.skipped_date, rules.fold) = (gap, gap, fold);
        builder(days, at, zone, anchor)
            .disambiguation(rules)
            .build()
            .map_err(|error| error.to_string())
    };
    let (gap, fold) = (Missing::Reject, Repeated::Reject);

    assert_eq!(
        refuse(
            1,
            "02:30",
            "Europe/Berlin",
            "2026-06-01",
            gap,
            Repeated::First
        )
        .unwrap_err(),
        "at: 02:30 does not exist on 2027-03-28 in Europe/Berlin; give another time or allow it"
    );
    assert_eq!(
        refuse(
            1,
            "02:30",
            "Europe/Berlin",
            "2026-06-01",
            Missing::After,
            fold
        )
        .unwrap_err(),
        "at: 02:30 happens twice on 2026-10-25 in Europe/Berlin; give another time or allow it"
    );
    assert_eq!(
        refuse(7, "02:30", "Pacific/Apia", "2011-12-30", gap, fold).unwrap_err(),
        "at: 02:30 does not exist on 2011-12-30 in Pacific/Apia; give another time or allow it"
    );
    // Another time of day, another day of the week, another zone.
    assert!(refuse(1, "04:30", "Europe/Berlin", "2026-06-01", gap, fold).is_ok());
    assert!(refuse(7, "02:30", "Europe/Berlin", "2026-06-01", gap, fold).is_ok());
    assert!(refuse(1, "02:30", "Asia/Tokyo", "2026-06-01", gap, fold).is_ok());
}

#[test]
fn the_interval_is_civil_days_whatever_their_length() {
    let schedule = schedule(30, "02:30", "Europe/Berlin", "2026-03-01");

    let next = schedule.next_after(utc("2026-03-01T01:30:00")).unwrap();

    assert_eq!(
        next.at(),
        utc("2026-03-31T00:30:00"),
        "an hour short of 30 days"
    );
}

#[test]
fn the_anchor_counts_in_both_directions() {
    let schedule = schedule(365, "12:00", "UTC", "2026-06-15");

    let before = schedule.previous_or_at(utc("2026-06-15T11:59:59")).unwrap();
    let after = schedule.next_after(before.at()).unwrap();

    assert_eq!(before.at(), utc("2025-06-15T12:00:00"));
    assert_eq!(after.at(), utc("2026-06-15T12:00:00"));
}

#[test]
fn leap_days_are_days() {
    let runs: Vec<_> = schedule(1, "00:00", "UTC", "2028-02-28")
        .upcoming(utc("2028-02-27T00:00:00"))
        .map(|run| run.local().date().to_string())
        .take(3)
        .collect();

    assert_eq!(runs, ["2028-02-28", "2028-02-29", "2028-03-01"]);
}

#[test]
fn the_first_and_the_last_day_are_answered_and_no_other() {
    for (zone, first, last) in [
        ("UTC", "1970-01-01T00:00:00", "2099-12-31T00:00:00"),
        (
            "Pacific/Kiritimati",
            "1970-01-01T10:40:00",
            "2099-12-30T10:00:00",
        ),
        ("Etc/GMT+12", "1970-01-01T12:00:00", "2099-12-31T12:00:00"),
    ] {
        let schedule = daily("00:00", zone);
        let (first, last) = (utc(first), utc(last));

        let at = |run: Option<Occurrence>| run.map(|run| run.at());
        assert_eq!(
            at(schedule.next_after(DateTime::<Utc>::MIN_UTC)),
            Some(first),
            "{zone}"
        );
        assert_eq!(
            at(schedule.previous_or_at(DateTime::<Utc>::MAX_UTC)),
            Some(last),
            "{zone}"
        );
        let second = TimeDelta::seconds(1);
        assert_eq!(
            at(schedule.next_after(first - second)),
            Some(first),
            "{zone}"
        );
        assert_eq!(at(schedule.previous_or_at(first - second)), None, "{zone}");
        assert_eq!(at(schedule.next_after(last)), None, "{zone}");
        assert_eq!(
            at(schedule.next_after(DateTime::<Utc>::MAX_UTC)),
            None,
            "{zone}"
        );
    }
}

#[test]
fn downtime_is_one_count_and_one_latest() {
    let schedule = schedule(7, "02:30", "Europe/Berlin", "2026-11-02");

    let due = schedule.due_between(utc("2026-11-02T01:30:00"), utc("2026-11-23T01:30:00"));
    assert_eq!(due.count, 3);
    assert_eq!(
        due.latest.map(|run| run.at()),
        Some(utc("2026-11-23T01:30:00"))
    );
    let none = schedule.due_between(utc("2026-11-23T01:30:00"), utc("2026-11-02T01:30:00"));
    assert_eq!((none.count, none.latest), (0, None));
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let field = |builder: ScheduleBuilder| builder.build().map_err(|error| error.field());
    let good = || builder(30, "02:30", "Europe/Berlin", "2026-11-01");

    assert!(field(good()).is_ok());
    for days in [0, 731, u32::MAX] {
        assert_eq!(field(good().every_days(days)), Err("interval"));
    }
    assert_eq!(field(good().at("02:30:00.5".parse().unwrap())), Err("at"));
    let leap_second = NaiveTime::from_hms_milli_opt(23, 59, 59, 1000).unwrap();
    assert_eq!(field(good().at(leap_second)), Err("at"));
    assert_eq!(field(good().zone("Mars/Olympus")), Err("zone"));
    for date in [
        NaiveDate::MIN,
        NaiveDate::MAX,
        NaiveDate::from_ymd_opt(2100, 1, 1).unwrap(),
    ] {
        assert_eq!(field(good().anchor(date)), Err("anchor"));
    }
    assert_eq!(field(Schedule::builder()), Err("interval"));
    assert_eq!(field(Schedule::builder().every_days(1)), Err("at"));
    let missing_zone = Schedule::builder().every_days(1).at(NaiveTime::MIN);
    assert_eq!(field(missing_zone.clone()), Err("zone"));
    assert_eq!(field(missing_zone.zone("UTC")), Err("anchor"));
}

#[test]
fn a_schedule_gives_back_what_it_was_made_of() -> Result<(), InvalidSchedule> {
    let schedule = schedule(30, "02:30", "Europe/Berlin", "2026-11-01");

    let again = Schedule::builder()
        .every_days(schedule.interval_days())
        .at(schedule.at())
        .zone(schedule.zone().name())
        .anchor(schedule.anchor())
        .build()?;

    assert_eq!(again, schedule);
    assert!(format!("{schedule:?}").len() < 300, "{schedule:?}");
    Ok(())
}

#[test]
fn any_time_zone_of_chrono_will_do() {
    let ship = Zone::new(
        "Ship",
        &chrono::FixedOffset::east_opt(5 * 3600 + 1800).unwrap(),
    );
    let schedule = Schedule::builder()
        .every_days(1)
        .at("08:00".parse().unwrap())
        .custom_zone(ship)
        .anchor("2026-01-01".parse().unwrap())
        .build()
        .unwrap();

    let after = Utc.with_ymd_and_hms(2026, 1, 1, 0, 0, 0).unwrap();
    assert_eq!(
        schedule.describe(after).to_string(),
        "every day at 08:00, Ship; next Thu 2026-01-01 08:00 +05:30 = 02:30 UTC"
    );
}
