//! The workspace's own commands. `cargo xtask test` is the one that newcomers and CI run.

mod deny;
mod mutants;
mod step;
mod test;

use std::env;
use std::process::ExitCode;

const USAGE: &str = "\
cargo xtask test            format, lints, tests, examples, docs, dependencies
cargo xtask test --quick    without what is slow: examples, docs, dependencies
cargo xtask test --full     the same, with every count as the issues state it
cargo xtask mutants [word]  breaks the engine's rules one by one; the tests must notice each";

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["test"] => test::run(test::Extent::Plain),
        ["test", "--quick"] => test::run(test::Extent::Quick),
        ["test", "--full"] => test::run(test::Extent::Full),
        ["mutants"] => mutants::run(None),
        ["mutants", word] => mutants::run(Some(word)),
        _ => {
            eprintln!("{USAGE}");
            ExitCode::from(2)
        }
    }
}
