//! Runs seeds of the simulation, or tells the story of one.

use std::process::ExitCode;

use workspace_tests::simulation::{Campaign, Mutant, Simulator, hunt};

/// A run takes memory some three thousand times.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "\
simulate --seeds N [--from SEED]     runs N seeds
simulate --seed SEED [--mutant NAME] tells the story of one
simulate --mutants N                 looks for each defect in N seeds";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let after = |option: &str| {
        let at = words.iter().position(|word| word == option)?;
        words.get(at + 1).map(String::as_str)
    };
    let number = |option: &str| after(option).and_then(|word| word.parse().ok());
    if let Some(seed) = number("--seed") {
        let named = |mutant: &Mutant| Some(mutant.to_string().as_str()) == after("--mutant");
        return story(seed, Mutant::ALL.into_iter().find(named));
    }
    if let Some(seeds) = number("--mutants") {
        return defects(seeds);
    }
    let Some(seeds) = number("--seeds") else {
        eprintln!("{USAGE}");
        return ExitCode::from(2);
    };
    let campaign = Campaign::run(number("--from").unwrap_or(0), seeds);
    println!("{campaign}");
    ExitCode::from(u8::from(!campaign.holds(seeds)))
}

fn story(seed: u64, mutant: Option<Mutant>) -> ExitCode {
    let outcome = Simulator::new().run(seed, mutant, true);
    for line in &outcome.trace {
        println!("{line}");
    }
    ExitCode::from(u8::from(outcome.violation.is_some()))
}

fn defects(seeds: u64) -> ExitCode {
    let mut all = true;
    for mutant in Mutant::ALL {
        let found = hunt(mutant, seeds);
        all &= found.is_some();
        match found {
            Some((seed, violation)) => println!("{mutant:18}  seed {seed:3}  {violation:.120}"),
            None => println!("{mutant:18}  NOT FOUND"),
        }
    }
    ExitCode::from(u8::from(!all))
}
