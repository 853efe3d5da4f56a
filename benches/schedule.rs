//! When is a daily run at 02:30 next due? keywheel's calculator beside the other ways to ask.
//!
//! `cargo bench -p benches --bench schedule` says what memory an answer takes, races the contestants and
//! checks the bounds that the calculator is built to, counts who is wrong around changes of the clock, and
//! then measures everything with criterion. It ends with an error when a bound was missed.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

#[path = "schedule/memory.rs"]
mod memory;
#[path = "schedule/peers.rs"]
mod peers;
#[path = "schedule/questions.rs"]
mod questions;
#[path = "schedule/wrong.rs"]
mod wrong;

use std::hint::black_box;

use benches::{Bounds, Race};
use criterion::Criterion;

use self::questions::{Place, Question, names, questions};

fn main() {
    let mut bounds = Bounds::default();
    // First, because it looks at what happens when a zone is first used.
    memory::check(&mut bounds);

    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(std::time::Duration::from_millis(200))
        .measurement_time(std::time::Duration::from_millis(500))
        .without_plots()
        .configure_from_args();
    let all: Vec<Place> = names().into_iter().map(Place::new).collect();
    let mut races = Vec::new();
    for name in [
        "UTC",
        "America/New_York",
        "Australia/Lord_Howe",
        "Africa/Casablanca",
    ] {
        let place = all.iter().filter(|place| place.name == name);
        races.push((name, questions(&place.collect::<Vec<_>>())));
    }
    races.push(("all zones", questions(&all.iter().collect::<Vec<_>>())));

    let mut races: Vec<Race<'_>> = races
        .iter()
        .map(|(name, questions)| race(name, questions))
        .collect();
    for race in &mut races {
        let times = race.run();
        times.at_least(&mut bounds, "keywheel", 4.0, "jiff");
        times.at_least(&mut bounds, "keywheel", 20.0, "croner");
        times.at_most(&mut bounds, "keywheel", 45.0);
    }
    wrong::count(&mut bounds);
    for race in &mut races {
        race.measure(&mut criterion);
    }
    criterion.final_summary();
    bounds.finish();
}

fn race<'a>(name: &str, questions: &'a [Question<'a>]) -> Race<'a> {
    let peers::Patterns { croner, cron } = peers::Patterns::new();
    Race::new(format!("next run, {name}"), questions.len())
        .with("keywheel", each(questions, peers::keywheel))
        .with("floor", each(questions, peers::floor))
        .with("chrono-tz by hand", each(questions, peers::chrono_tz))
        .with("jiff by hand", each(questions, peers::jiff_timestamps))
        .with("jiff", each(questions, peers::jiff))
        .with(
            "croner",
            each(questions, move |question| peers::croner(&croner, question)),
        )
        .with(
            "cron",
            each(questions, move |question| peers::cron(&cron, question)),
        )
        .with("rrule", each(questions, peers::rrule))
}

/// Asks all questions, one after the other, and keeps every answer from the optimiser.
fn each<'a, T>(
    questions: &'a [Question<'a>],
    next: impl Fn(&'a Question<'a>) -> T,
) -> impl FnMut() {
    move || {
        for question in questions {
            black_box(next(question));
        }
    }
}
