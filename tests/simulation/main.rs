//! The simulation: that no seed breaks an invariant, that it finds defects, and that a seed replays.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use keywheel_testkit::cases;
use workspace_tests::simulation::{Campaign, Mutant, Simulator, hunt};

#[test]
fn no_seed_breaks_an_invariant() {
    let seeds = cases(3_000, 100_000).into();

    let campaign = Campaign::run(0, seeds);

    println!("{campaign}");
    assert!(campaign.holds(seeds), "{seeds} seeds, but {campaign}");
}

/// A simulation that finds nothing proves nothing.
#[test]
fn every_defect_is_found_within_a_few_hundred_seeds() {
    for mutant in Mutant::ALL {
        let found = hunt(mutant, 500);
        let (seed, violation) = found.unwrap_or_else(|| panic!("{mutant} was not found"));
        println!("{mutant}: seed {seed}: {violation}");
    }
}

#[test]
fn a_seed_is_replayed_to_the_letter() {
    let (fresh, used) = (Simulator::new(), Simulator::new());
    for seed in 0..20 {
        let told = used.run(seed, None, true).trace;
        let again = fresh.run(seed, None, true).trace;
        assert!(told.len() > 20, "{told:?}");
        assert_eq!(told, again, "seed {seed}");
        drop(used.run(seed + 1000, None, false));
    }
}
