//! A plan that took the place of another one.

use super::*;

/// The last rotation was half a month ago, and at noon the daily run is moved from 18:00 to another hour.
#[test]
fn a_change_of_the_hour_counts_on_the_day_on_which_it_is_made() {
    let changed = since("2026-11-10T18:00:00").planned_since(utc("2026-11-25T12:00:00"));
    let next = |at| {
        let due = Plan::from(daily(at, "UTC")).next_due(&changed, utc("2026-11-25T12:00:00"));
        due.unwrap().at().format("%FT%T").to_string()
    };

    assert_eq!(next("20:00"), "2026-11-25T20:00:00");
    assert_eq!(next("12:00"), "2026-11-26T12:00:00");
    assert_eq!(next("10:00"), "2026-11-26T10:00:00");
}

#[test]
fn a_change_takes_no_run_back_that_waits_for_its_window() {
    let plan = Plan::builder(daily("02:30", "UTC"))
        .window(window("09:00", "17:00"))
        .build()
        .unwrap();
    let changed = since("2026-11-10T18:00:00").planned_since(utc("2026-11-25T08:00:00"));

    let due = plan.next_due(&changed, utc("2026-11-25T08:00:00"));

    assert_eq!(due.unwrap().at(), utc("2026-11-25T09:00:00"));
}

#[test]
fn a_change_right_after_a_rotation_keeps_the_spacing_from_it() {
    let changed = since("2026-11-25T11:00:00").planned_since(utc("2026-11-25T12:00:00"));

    let due = Plan::from(daily("20:00", "UTC")).next_due(&changed, utc("2026-11-25T12:00:00"));

    assert_eq!(due.unwrap().at(), utc("2026-11-26T20:00:00"));
}
