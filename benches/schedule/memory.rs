//! An answer takes no memory, and a zone little, once.

use std::hint::black_box;

use allocation_counter::measure;
use benches::Bounds;
use chrono::{DateTime, Utc};
use keywheel_schedule::{Schedule, Zone};

use crate::questions::{daily, due_time, names};

pub(crate) fn check(bounds: &mut Bounds) {
    println!("\nmemory");
    // The list of names is made on the first use of any.
    let _ = Zone::named("UTC").unwrap();
    let (mut most, mut sum, mut again) = ((0, ""), 0, 0);
    for name in names().into_iter().filter(|name| *name != "UTC") {
        let held = measure(|| drop(black_box(Zone::named(name)))).bytes_current;
        most = most.max((held, name));
        sum += held;
        again += measure(|| drop(black_box(Zone::named(name)))).count_total;
    }
    let (bytes, name) = most;
    let seen = format!("{bytes} bytes for {name}, {} KiB for all", sum / 1024);
    bounds.check("a zone takes less than 4 KiB", bytes < 4096, seen);
    bounds.check(
        "a zone is worked out once",
        again == 0,
        format!("{again} allocations when asked for again"),
    );

    let schedules: Vec<Schedule> = names()
        .into_iter()
        .map(|name| daily(Zone::named(name).unwrap(), due_time()))
        .collect();
    let asked = measure(|| {
        for (number, schedule) in (0..).zip(schedules.iter().cycle().take(100_000)) {
            black_box(answer(schedule, 1_767_225_600 + number * 3_001));
        }
    });
    bounds.check(
        "a question takes no memory",
        asked.count_total == 0,
        format!("{} allocations in 100,000", asked.count_total),
    );
}

fn answer(schedule: &Schedule, after: i64) -> impl Sized {
    let after: DateTime<Utc> = DateTime::from_timestamp(after, 0).unwrap();
    (
        schedule.next_after(after),
        schedule.previous_or_at(after),
        schedule.upcoming(after).nth(2),
    )
}
