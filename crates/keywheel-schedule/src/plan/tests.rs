use std::time::Duration;

use chrono::Weekday::{Fri, Mon, Sun, Thu, Tue, Wed};
use chrono::{Month, NaiveDate, NaiveDateTime};

use super::*;
use crate::{Days, Freeze, Window};

mod changed;
mod model;

fn schedule(days: u32, at: &str, zone: &str, anchor: &str) -> Schedule {
    Schedule::builder()
        .every_days(days)
        .at(at.parse().unwrap())
        .zone(zone)
        .anchor(anchor.parse().unwrap())
        .build()
        .unwrap()
}

/// Every 30 days at 02:30 in Berlin, on Wednesday 25 November 2026 among others.
fn monthly() -> Schedule {
    schedule(30, "02:30", "Europe/Berlin", "2026-11-25")
}

fn daily(at: &str, zone: &str) -> Schedule {
    schedule(1, at, zone, "2026-01-01")
}

fn window(from: &str, to: &str) -> Window {
    Window::new(from.parse().unwrap(), to.parse().unwrap()).unwrap()
}

fn weekdays() -> Window {
    Window::all_day().on(Days::ALL.on_weekdays([Mon, Tue, Wed, Thu, Fri]))
}

fn freeze(first: &str, last: &str) -> Freeze {
    Freeze::new(first.parse().unwrap(), last.parse().unwrap()).unwrap()
}

fn utc(text: &str) -> DateTime<Utc> {
    text.parse::<NaiveDateTime>().unwrap().and_utc()
}

fn since(text: &str) -> Lifetime {
    Lifetime::new(utc(text))
}

/// Asks right after the last rotation.
fn next(plan: &Plan, life: &Lifetime) -> (String, Why) {
    let due = plan.next_due(life, life.since).unwrap();
    (due.at().format("%FT%T").to_string(), due.why())
}

fn hours(hours: u64) -> Duration {
    Duration::from_hours(hours)
}

#[test]
fn without_more_the_schedule_is_followed() {
    let plan = Plan::builder(monthly()).build().unwrap();

    let due = plan
        .next_due(&since("2026-11-25T01:31:00"), utc("2026-12-01T00:00:00"))
        .unwrap();

    assert_eq!(due.to_string(), "Fri 2026-12-25 02:30 CET = 01:30 UTC");
    assert_eq!(due.why(), Why::Schedule);
}

#[test]
fn jitter_delays_every_run_alike() {
    let jitter = Jitter::new("connection 42", hours(2));
    let plan = Plan::builder(monthly()).jitter(jitter).build().unwrap();

    let due = plan
        .next_due(&since("2026-11-25T04:00:00"), utc("2026-11-26T00:00:00"))
        .unwrap();

    // 4476 seconds.
    assert_eq!(
        due.to_string(),
        "Fri 2026-12-25 03:44:36 CET = 02:44:36 UTC (spread from Fri 2026-12-25 02:30 CET = 01:30 UTC)"
    );
    // Before its delay is over a run is not done, and the next question says so.
    assert_eq!(
        next(&plan, &since("2026-11-24T04:00:00")).0,
        "2026-11-25T02:44:36"
    );
    assert_eq!(
        next(&plan, &since("2026-11-25T01:30:00")).0,
        "2026-12-25T02:44:36"
    );
}

#[test]
fn a_run_outside_the_windows_moves_to_the_next() {
    let nights = window("22:00", "04:00").on(Days::ALL.on_weekdays([Fri]));
    let plan = Plan::builder(monthly()).window(nights).build().unwrap();

    // Friday 25 December at 02:30 belongs to the night that began on Thursday.
    assert_eq!(
        next(&plan, &since("2026-11-25T02:00:00")),
        ("2026-12-25T21:00:00".to_owned(), Why::Window)
    );
    // Sunday 24 January 2027 at 02:30: the night that began on Friday is over.
    assert_eq!(
        next(&plan, &since("2026-12-26T00:00:00")),
        ("2027-01-29T21:00:00".to_owned(), Why::Window)
    );
    let saturday = schedule(30, "02:30", "Europe/Berlin", "2026-11-28");
    let inside = Plan::builder(saturday).window(nights).build().unwrap();
    assert_eq!(
        next(&inside, &since("2026-11-27T00:00:00")),
        ("2026-11-28T01:30:00".to_owned(), Why::Schedule)
    );
}

#[test]
fn what_a_window_holds_up_is_spread_over_it() {
    let at = |id: &str, from, to| {
        let plan = Plan::builder(schedule(30, "02:30", "UTC", "2026-11-25"))
            .jitter(Jitter::new(id, hours(8)))
            .window(window(from, to))
            .build()
            .unwrap();
        next(&plan, &since("2026-11-24T00:00:00")).0
    };

    for id in ["a", "b", "c", "d", "e", "f"] {
        let moved = at(id, "12:00", "12:30");
        assert!(
            ("2026-11-25T12:00:00".."2026-11-25T12:30:00").contains(&&*moved),
            "{moved}"
        );
        let kept = at(id, "00:00", "03:00");
        assert!(
            ("2026-11-25T02:30:00".."2026-11-25T03:00:00").contains(&&*kept),
            "{kept}"
        );
    }
    assert_ne!(at("a", "12:00", "12:30"), at("b", "12:00", "12:30"));
}

#[test]
fn a_freeze_moves_a_run_to_the_first_day_after_it() {
    let plan = Plan::builder(monthly())
        .freeze(freeze("2026-12-19", "2026-12-25"))
        .freeze(freeze("2026-12-24", "2027-01-03"))
        .window(weekdays())
        .build()
        .unwrap();

    let due = plan
        .next_due(&since("2026-11-25T02:00:00"), utc("2026-12-30T00:00:00"))
        .unwrap();

    assert_eq!(
        due.to_string(),
        "Mon 2027-01-04 00:00 CET = Sun 2027-01-03 23:00 UTC \
         (moved by a freeze from Fri 2026-12-25 02:30 CET = 01:30 UTC)"
    );
}

#[test]
fn what_is_spread_ends_before_a_freeze_begins() {
    for window in [Window::all_day(), window("20:00", "06:00")] {
        for id in ["a", "b", "c", "d", "e", "f"] {
            let plan = Plan::builder(schedule(30, "23:00", "UTC", "2026-11-25"))
                .jitter(Jitter::new(id, hours(8)))
                .window(window)
                .freeze(freeze("2026-11-26", "2026-11-30"))
                .build()
                .unwrap();

            let (at, why) = next(&plan, &since("2026-11-24T00:00:00"));

            assert!(
                ("2026-11-25T23:00:00".."2026-11-26T00:00:00").contains(&&*at),
                "{at}"
            );
            assert_eq!(why, Why::Schedule);
        }
    }
}

#[test]
fn windows_that_join_are_one() {
    let plan = Plan::builder(daily("02:30", "UTC"))
        .jitter(Jitter::new("connection 42", hours(12)))
        .window(window("00:00", "06:00"))
        .window(window("06:00", "18:00"))
        .build()
        .unwrap();
    let life = since("2026-11-24T12:00:00");

    let due = plan.next_due(&life, life.since).unwrap();

    assert!(due.at() > utc("2026-11-25T06:00:00"), "{due}");
    assert_eq!(plan.next_due(&life, utc("2026-11-25T06:00:00")), Some(due));
}

#[test]
fn a_run_at_exactly_the_minimum_spacing_is_kept() {
    let plan = Plan::builder(daily("02:30", "UTC"))
        .minimum_spacing(hours(24))
        .build()
        .unwrap();

    assert_eq!(
        next(&plan, &since("2026-11-24T02:30:00")).0,
        "2026-11-25T02:30:00"
    );
    assert_eq!(
        next(&plan, &since("2026-11-24T02:30:01")).0,
        "2026-11-26T02:30:00"
    );
}

#[test]
fn windows_follow_the_wall_clock_through_gap_and_fold() {
    let at = |time, from, to, last| {
        let plan = Plan::builder(daily(time, "Europe/Berlin"))
            .window(window(from, to))
            .build();
        next(&plan.unwrap(), &since(last)).0
    };

    // 02:00 to 02:45 does not exist on 29 March: closed until the day after.
    assert_eq!(
        at("01:00", "02:00", "02:45", "2026-03-28T12:00:00"),
        "2026-03-30T00:00:00"
    );
    // 02:30 to 05:00 opens when the clock jumps to 03:00.
    assert_eq!(
        at("01:00", "02:30", "05:00", "2026-03-28T12:00:00"),
        "2026-03-29T01:00:00"
    );
    // On 25 October 02:30 comes twice; the window opens at the first.
    assert_eq!(
        at("01:00", "02:30", "02:45", "2026-10-24T12:00:00"),
        "2026-10-25T00:30:00"
    );
    // And a second time, for what missed the first.
    let plan = Plan::builder(daily("01:00", "Europe/Berlin")).window(window("02:30", "02:45"));
    let late = utc("2026-10-25T00:50:00");
    let due = plan
        .build()
        .unwrap()
        .next_due(&since("2026-10-24T12:00:00"), late)
        .unwrap();
    assert_eq!(
        (due.at(), due.why()),
        (utc("2026-10-25T01:30:00"), Why::CatchUp)
    );
}

#[test]
fn expiry_beats_interval_window_and_freeze() {
    let plan = Plan::builder(schedule(365, "02:30", "UTC", "2026-01-01"))
        .window(window("02:00", "03:00"))
        .freeze(freeze("2026-06-01", "2026-06-30"))
        .build()
        .unwrap();
    let life = since("2026-01-01T02:31:00");

    let due = plan
        .next_due(&life.until(utc("2026-06-22T12:00:00")), life.since)
        .unwrap();

    assert_eq!(
        due.to_string(),
        "Mon 2026-06-15 12:00 UTC (before the credential ends; the schedule says Fri 2027-01-01 02:30 UTC)"
    );
    // An end that is later than the schedule changes nothing.
    let later = life.until(utc("2027-01-08T02:30:00"));
    assert_eq!(
        next(&plan, &later),
        ("2027-01-01T02:30:00".to_owned(), Why::Schedule)
    );
    let sooner = life.until(utc("2027-01-08T02:29:59"));
    assert_eq!(
        next(&plan, &sooner),
        ("2027-01-01T02:29:59".to_owned(), Why::Expiry)
    );
}

#[test]
fn a_life_shorter_than_the_margin_is_used_for_two_thirds() {
    let plan = Plan::builder(monthly()).build().unwrap();
    let life = since("2026-11-26T00:00:00");

    let six_hours = life.until(utc("2026-11-26T06:00:00"));
    assert_eq!(
        next(&plan, &six_hours),
        ("2026-11-26T04:00:00".to_owned(), Why::Expiry)
    );
    // Three days: the spacing is kept, and no more.
    let three_days = life.until(utc("2026-11-29T00:00:00"));
    assert_eq!(
        next(&plan, &three_days),
        ("2026-11-26T12:00:00".to_owned(), Why::Expiry)
    );
    // What has ended is due at once.
    let ended = life.until(utc("2026-11-20T00:00:00"));
    assert_eq!(
        next(&plan, &ended),
        ("2026-11-26T00:00:00".to_owned(), Why::Expiry)
    );
}

#[test]
fn a_rotation_by_hand_counts_and_moves_no_due_date() {
    let plan = Plan::builder(monthly()).build().unwrap();

    // An hour before the run: that one is left out. A week before: it is not.
    assert_eq!(
        next(&plan, &since("2026-12-25T00:30:00")).0,
        "2027-01-24T01:30:00"
    );
    assert_eq!(
        next(&plan, &since("2026-12-18T00:30:00")).0,
        "2026-12-25T01:30:00"
    );
}

#[test]
fn a_rotation_by_hand_during_a_freeze_answers_what_the_freeze_held_up() {
    let plan = Plan::builder(monthly())
        .freeze(freeze("2026-12-19", "2027-01-03"))
        .build()
        .unwrap();

    assert_eq!(
        next(&plan, &since("2026-12-20T00:00:00")).0,
        "2027-01-03T23:00:00"
    );
    assert_eq!(
        next(&plan, &since("2026-12-28T00:00:00")).0,
        "2027-01-24T01:30:00"
    );
}

#[test]
fn a_clock_that_was_set_back_causes_no_second_rotation() {
    let plan = Plan::builder(daily("02:30", "UTC")).build().unwrap();
    let life = since("2026-11-25T02:30:20");

    let due = plan.next_due(&life, utc("2026-11-20T00:00:00")).unwrap();

    assert_eq!(due.at(), utc("2026-11-26T02:30:00"));
}

#[test]
fn downtime_is_made_up_for_once_and_inside_a_window() {
    let plan = Plan::builder(daily("02:30", "UTC"))
        .window(window("02:00", "04:00").on(Days::ALL.on_weekdays([Tue, Wed, Thu])))
        .jitter(Jitter::new("connection 42", hours(1)))
        .build()
        .unwrap();
    let life = since("2026-11-03T03:00:00");
    let ask = |now| plan.next_due(&life, utc(now)).unwrap();

    // Down since Wednesday 4 November, up again on Wednesday 18 at noon.
    let due = ask("2026-11-18T12:00:00");
    assert_eq!(due.at(), utc("2026-11-19T02:37:18"));
    assert_eq!(due.why(), Why::CatchUp);
    assert!(
        due.to_string()
            .contains("(makes up for Wed 2026-11-04 02:30 UTC)"),
        "{due}"
    );
    // Asking again moves nothing.
    for now in [
        "2026-11-19T02:00:00",
        "2026-11-19T02:37:18",
        "2026-11-19T03:59:59",
    ] {
        assert_eq!(ask(now).at(), due.at(), "{now}");
    }
    assert_eq!(ask("2026-11-19T04:00:00").at(), utc("2026-11-24T02:37:18"));
    // Made up for once: the run after it is an ordinary one.
    let after = plan.next_due(&Lifetime::new(due.at()), due.at()).unwrap();
    assert_eq!(
        (after.at().to_string().as_str(), after.why()),
        ("2026-11-24 02:37:18 UTC", Why::Window)
    );
}

#[test]
fn without_windows_what_was_missed_is_due_at_once() {
    let plan = Plan::builder(daily("02:30", "UTC")).build().unwrap();
    let now = utc("2026-11-18T12:00:00");

    let due = plan.next_due(&since("2026-11-03T03:00:00"), now).unwrap();

    assert!(due.at() <= now, "{due}");
    let after = plan.next_due(&Lifetime::new(now), now).unwrap();
    assert_eq!(after.at(), utc("2026-11-19T02:30:00"));
}

#[test]
fn calendar_rules_are_a_daily_schedule_and_a_window() {
    let runs = |time: &str, days: Days| -> Vec<String> {
        let hour = window(time, &format!("{:02}:59", time[..2].parse::<u8>().unwrap()));
        let plan = Plan::builder(daily(time, "UTC"))
            .window(hour.on(days))
            .build()
            .unwrap();
        let life = since("2026-01-01T00:00:00");
        let runs = plan.upcoming(&life, life.since).take(4);
        runs.map(|due| due.at().format("%F %H:%M").to_string())
            .collect()
    };
    let days = Days::ALL;

    // cron(0 8 1,15 * ? *)
    assert_eq!(
        runs("08:00", days.on_month_days([1, 15]).unwrap()),
        [
            "2026-01-15 08:00",
            "2026-02-01 08:00",
            "2026-02-15 08:00",
            "2026-03-01 08:00"
        ]
    );
    // cron(0 16 L * ? *)
    assert_eq!(
        runs("16:00", days.on_month_days([-1]).unwrap()),
        [
            "2026-01-31 16:00",
            "2026-02-28 16:00",
            "2026-03-31 16:00",
            "2026-04-30 16:00"
        ]
    );
    // cron(0 0 ? * SUN#1 *)
    assert_eq!(
        runs(
            "00:00",
            days.on_weekdays([Sun]).on_month_days(1..=7).unwrap()
        ),
        [
            "2026-01-04 00:00",
            "2026-02-01 00:00",
            "2026-03-01 00:00",
            "2026-04-05 00:00"
        ]
    );
    // cron(0 10 ? JAN,JUL 6L *): the last Friday.
    assert_eq!(
        runs(
            "10:00",
            days.on_weekdays([Fri])
                .on_month_days(-7..=-1)
                .unwrap()
                .in_months([Month::January, Month::July])
        ),
        [
            "2026-01-30 10:00",
            "2026-07-31 10:00",
            "2027-01-29 10:00",
            "2027-07-30 10:00"
        ]
    );
    // Leap days.
    assert_eq!(
        runs(
            "12:00",
            days.on_month_days([29])
                .unwrap()
                .in_months([Month::February])
        ),
        [
            "2028-02-29 12:00",
            "2032-02-29 12:00",
            "2036-02-29 12:00",
            "2040-02-29 12:00"
        ]
    );
}

#[test]
fn hours_are_several_daily_schedules() {
    let plan = Plan::builder(daily("04:00", "UTC"))
        .and(daily("16:00", "UTC"))
        .minimum_spacing(hours(1))
        .build()
        .unwrap();
    let life = since("2026-01-01T10:00:00");

    let runs: Vec<_> = plan
        .upcoming(&life, life.since)
        .map(|due| due.at().format("%d %H:%M").to_string())
        .take(4)
        .collect();

    assert_eq!(runs, ["01 16:00", "02 04:00", "02 16:00", "03 04:00"]);
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let plan = || Plan::builder(daily("02:30", "UTC"));
    let field = |builder: PlanBuilder| builder.build().map_err(|error| error.field());
    let days = Days::ALL;

    assert!(field(plan()).is_ok());
    assert_eq!(
        field(plan().window(weekdays().on(days.on_weekdays([])))),
        Err("window")
    );
    let thirtieth = days
        .on_month_days([30])
        .unwrap()
        .in_months([Month::February]);
    assert_eq!(
        field(plan().window(weekdays().on(thirtieth))),
        Err("window")
    );
    assert_eq!(
        field(plan().jitter(Jitter::new("x", hours(25)))),
        Err("jitter")
    );
    assert_eq!(
        field(plan().minimum_spacing(hours(25))),
        Err("minimum spacing")
    );
    assert_eq!(
        field(plan().minimum_spacing(Duration::MAX)),
        Err("minimum spacing")
    );
    assert_eq!(
        field(plan().expiry_margin(Duration::MAX)),
        Err("expiry margin")
    );
    for day in [0, 32, -32, i8::MIN, i8::MAX] {
        assert_eq!(days.on_month_days([day]).unwrap_err().field(), "window");
    }
    let noon = "12:00".parse().unwrap();
    assert_eq!(Window::new(noon, noon).unwrap_err().field(), "window");
    assert_eq!(
        Window::new(noon, "12:00:00.5".parse().unwrap())
            .unwrap_err()
            .field(),
        "window"
    );
    assert_eq!(
        Freeze::new(NaiveDate::MAX, NaiveDate::MIN)
            .unwrap_err()
            .field(),
        "freeze"
    );
}

#[test]
fn the_end_of_all_schedules_is_none_or_the_deadline() {
    let plan = Plan::builder(daily("02:30", "UTC"))
        .window(weekdays())
        .build()
        .unwrap();
    let life = since("2099-12-31T12:00:00");

    assert_eq!(plan.next_due(&life, life.since), None);
    let due = plan
        .next_due(&life.until(utc("2101-01-08T00:00:00")), life.since)
        .unwrap();
    assert_eq!(
        (due.at(), due.occurrence()),
        (utc("2101-01-01T00:00:00"), None)
    );
    assert_eq!(
        due.to_string(),
        "Sat 2101-01-01 00:00 UTC (before the credential ends)"
    );
}
