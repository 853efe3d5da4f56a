//! The workspace's own commands. `cargo xtask test` is the one that newcomers and CI run.

mod deny;
mod monitoring;
mod mutants;
mod packages;
mod simulate;
mod step;
mod test;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test            format, lints, tests, examples, docs, dependencies
cargo xtask test --quick    without what is slow: examples, docs, dependencies
cargo xtask test --full     the same, with every count as the issues state it
cargo xtask mutants         breaks the engine's rules one by one; the tests must notice each
cargo xtask mutants WORD .. the same for those with one of the words in their names

cargo xtask simulate --seeds N [--from SEED]          runs seeds of the simulation, optimised
cargo xtask simulate --seed SEED [--mutant NAME]      tells the story of one
cargo xtask simulate --mutants N                      looks for each defect in N seeds";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => test::run(test::Extent::Plain),
        ["test", "--quick"] => test::run(test::Extent::Quick),
        ["test", "--full"] => test::run(test::Extent::Full),
        ["mutants", words @ ..] => mutants::run(words),
        ["simulate", options @ ..] if !options.is_empty() => simulate::run(options),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
