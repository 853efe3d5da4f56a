use proptest::prelude::*;

use super::*;

/// Clocks that no country would keep: changes of up to a day and a half, hours apart.
fn segments() -> impl Strategy<Value = Vec<(i64, Kind)>> {
    let kind = |quarters: i32| Kind::new(quarters * 900, &"X");
    prop::collection::vec((1_i64..200, -70..70_i32), 1..8).prop_map(move |steps| {
        let mut at = 10 * DAY;
        let later = steps.into_iter().map(|(quarters, offset)| {
            at += quarters * 900;
            (at, kind(offset))
        });
        let mut segments = vec![(BASE, kind(0))];
        segments.extend(later);
        segments.dedup_by_key(|(_, kind)| *kind);
        segments
    })
}

fn clock(segments: &[(i64, Kind)], at: i64) -> i64 {
    let (_, kind) = segments.iter().rfind(|(start, _)| *start <= at).unwrap();
    at + kind.offset
}

proptest! {
    #[test]
    fn a_wall_time_is_met_when_the_clock_first_shows_it_or_later(
        segments in segments(), quarter in -200_i64..2_000,
    ) {
        let (table, wall) = (Table::new(segments.clone()), 10 * DAY + quarter * 900);
        // All is in quarters of an hour, so every quarter can be looked at.
        let quarters = || (5 * DAY..40 * DAY).step_by(900);

        let first = quarters().find(|at| clock(&segments, *at) >= wall).unwrap();
        let last = quarters().filter(|at| clock(&segments, *at) == wall).last();
        match table.at_wall(wall) {
            Wall::Once(moment) => prop_assert_eq!((moment.at, Some(moment.at)), (first, last)),
            Wall::Twice { first: a, last: b } => {
                prop_assert_eq!((a.at, Some(b.at)), (first, last));
                prop_assert_eq!(b.wall(), wall);
            }
            Wall::Never { before, jump } => {
                prop_assert_eq!(jump.at, first);
                prop_assert!(before <= wall && wall < jump.wall());
            }
        }
    }

    #[test]
    fn what_the_clock_shows_before_and_after_is_bounded(segments in segments(), quarter in 0_i64..2_000) {
        let (table, at) = (Table::new(segments.clone()), 10 * DAY + quarter * 900);
        let quarters = || (5 * DAY..40 * DAY).step_by(900);

        let (least, most) = (table.least_after(at), table.most_until(at));

        for other in quarters() {
            let shown = clock(&segments, other);
            if other > at {
                prop_assert!(shown > least, "{} at {}, not later than {}", shown, other, least);
            } else {
                prop_assert!(shown <= most, "{} at {}, later than {}", shown, other, most);
            }
        }
        prop_assert!(least <= clock(&segments, at) && clock(&segments, at) <= most);
    }

    #[test]
    fn the_clock_runs_evenly_until_the_next_change(segments in segments(), at in 0_i64..20 * DAY) {
        let table = Table::new(segments.clone());
        let (kind, until) = (table.kind_at(at), table.next_change(at));

        prop_assert_eq!(at + kind.offset, clock(&segments, at));
        prop_assert!(until > at);
        prop_assert_eq!(table.kind_at(until - 1), kind);
        prop_assert!(table.changes().all(|change| change <= at || change >= until));
    }
}

#[test]
fn names_that_are_too_long_or_missing_become_numbers() {
    let name = |offset, text: &str| Kind::new(offset, &text).abbreviation.to_string();

    assert_eq!(name(3600, "CET"), "CET");
    assert_eq!(name(-12_600, "Newfoundland"), "-03:30");
    assert_eq!(name(20_700, ""), "+05:45");
    assert_eq!(name(0, "ÄÖÜÄÖÜ"), "+00:00");
}
