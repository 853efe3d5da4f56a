//! Mutants of the order of things: each breaks a rule that the engine lives by, and a test must notice.

mod list;
mod suites;

use std::io;
use std::process::ExitCode;

use self::list::{MUTANTS, Mutant};
use self::suites::Suites;

/// Makes each mutant in a copy of the sources and runs the engine's tests on it. Fails when one survives.
///
/// What it prints is the table of `crates/keywheel-rotation/MUTANTS.md`.
pub(crate) fn run(words: &[&str]) -> ExitCode {
    match judge_all(words) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            eprintln!("{survivors} of them were not noticed");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("cargo xtask mutants: {error}");
            ExitCode::FAILURE
        }
    }
}

fn judge_all(words: &[&str]) -> io::Result<usize> {
    let suites = Suites::prepare()?;
    let meant = |mutant: &Mutant| words.iter().any(|word| mutant.name.contains(word));
    let wanted = |mutant: &&Mutant| words.is_empty() || meant(mutant);
    let mut survivors = 0;
    println!("{HEAD}");
    for mutant in MUTANTS.iter().filter(wanted) {
        let verdict = suites.judge(mutant)?;
        survivors += usize::from(!verdict.is_noticed());
        println!("| {} | {verdict} |", mutant.name);
    }
    Ok(survivors)
}

const HEAD: &str = "| mutant | `decide`'s own tests | `tests/rotation` |\n|---|---|---|";

#[cfg(test)]
mod tests {
    use std::fs;

    use super::suites::ENDLESS;
    use super::*;
    use crate::step::root;

    #[test]
    fn the_docs_say_by_what_each_mutant_was_noticed() {
        let docs = root().join("crates/keywheel-rotation/MUTANTS.md");
        let docs = fs::read_to_string(docs).unwrap();
        let (_, table) = docs.split_once(HEAD).unwrap();
        let rows: Vec<_> = table.lines().filter(|line| line.starts_with('|')).collect();

        assert_eq!(rows.len(), MUTANTS.len());
        for (row, mutant) in rows.iter().zip(MUTANTS) {
            let cells: Vec<_> = row.trim_matches('|').split(" | ").collect();
            assert_eq!((cells.len(), cells[0].trim()), (3, mutant.name));
            let noticed = |cell: &&str| cell.contains('`') || cell.contains(ENDLESS);
            assert!(cells[1..].iter().any(noticed), "{row}");
        }
    }

    #[test]
    fn every_mutant_fits_the_source() {
        for mutant in MUTANTS {
            let source = fs::read_to_string(root().join(mutant.file)).unwrap();

            assert_eq!(source.matches(mutant.from).count(), 1, "{}", mutant.name);
        }
    }
}
