//! Mutants of the order of things: each breaks a rule that the engine lives by, and a test must notice.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Duration;

use crate::step::{now, root};

/// One change of the engine's source.
struct Mutant {
    /// What goes wrong with it.
    name: &'static str,
    file: &'static str,
    from: &'static str,
    to: &'static str,
}

const DECIDE: &str = "crates/keywheel-rotation/src/decide.rs";

const MUTANTS: &[Mutant] = &[
    Mutant {
        name: "promote before proof",
        file: DECIDE,
        from: "candidate.read && candidate.proofs >= rotation.settings.proofs.max(1)",
        to: "candidate.proofs >= rotation.settings.proofs.max(1) || candidate.proofs >= 1",
    },
    Mutant {
        name: "promote on a read alone",
        file: DECIDE,
        from: "candidate.read && candidate.proofs >= rotation.settings.proofs.max(1)",
        to: "candidate.read || candidate.proofs >= rotation.settings.proofs.max(1)",
    },
    Mutant {
        name: "promote without a sink that must have it",
        file: DECIDE,
        from: "is_proven(candidate, rotation) && next_sink(candidate, policy).is_none()",
        to: "is_proven(candidate, rotation)",
    },
    Mutant {
        name: "revoke what is in use",
        file: DECIDE,
        from: "    proving || (current && !last)\n",
        to: "    let _ = (proving, current, last);\n    false\n",
    },
    Mutant {
        name: "sweep away the current secret",
        file: DECIDE,
        from: "    proving || (current && !last)\n",
        to: "    let _ = (current, last);\n    proving\n",
    },
    Mutant {
        name: "sweep away the candidate before it is promoted",
        file: DECIDE,
        from: "    proving || (current && !last)\n",
        to: "    let _ = proving;\n    current && !last\n",
    },
    Mutant {
        name: "revoke while paused",
        file: DECIDE,
        from: "debt.reason == DebtReason::Superseded && rotation.pause.is_some()",
        to: "false && debt.reason == DebtReason::Superseded && rotation.pause.is_some()",
    },
    Mutant {
        name: "confirm with a debt",
        file: DECIDE,
        from: "is_promoted(rotation) && !rotation.debts.iter().any(superseded)",
        to: "is_promoted(rotation) || rotation.debts.iter().any(superseded)",
    },
    Mutant {
        name: "mint before the last call is settled",
        file: DECIDE,
        from: "rotation.dead_markers.iter().all(|marker| marker.settled)\n}",
        to: "rotation.dead_markers.len() < 9\n}",
    },
    Mutant {
        name: "mint beyond the budget",
        file: DECIDE,
        from: "    live < policy.slots\n",
        to: "    live < policy.slots + 2\n",
    },
    Mutant {
        name: "forget the debt",
        file: "crates/keywheel-rotation/src/apply/proving.rs",
        from: "            rotation.debts.extend(debt);\n",
        to: "            drop(debt);\n",
    },
    Mutant {
        name: "revoke at once instead of after the grace",
        file: "crates/keywheel-rotation/src/apply/proving.rs",
        from: "        let revoke_at = self.now + grace;\n",
        to: "        let revoke_at = self.now + grace * 0;\n",
    },
    Mutant {
        name: "forget the marker",
        file: "crates/keywheel-rotation/src/apply/minting.rs",
        from: "            .push(DeadMarker::new(marker, self.now, self.now));",
        to: "            .truncate(usize::from(marker.generation() > 99));",
    },
    Mutant {
        name: "believe one read",
        file: "crates/keywheel-rotation/src/apply/reading.rs",
        from: "            let old = age >= self.policy.settle;\n",
        to: "            let old = age >= TimeDelta::zero();\n",
    },
    Mutant {
        name: "take a failed removal for gone",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "Ok(Removal::NotFound) => Outcome::RemoveNotFound { key_id },",
        to: "Ok(Removal::NotFound) => Outcome::Removed { key_id },",
    },
    Mutant {
        name: "revoke without a fresh proof",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "        if is_replaced(connection, key_id)\n",
        to: "        if false && is_replaced(connection, key_id)\n",
    },
    Mutant {
        name: "end a grace by our own clock",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "(told + EARLY < due).then_some(",
        to: "(told + EARLY < due && due < told).then_some(",
    },
    Mutant {
        name: "carry an intent over to another record",
        file: "crates/keywheel-rotation/src/rotator/save.rs",
        from: "            if fold == Fold::Nothing {\n                return Ok(false);",
        to: "            if false && fold == Fold::Nothing {\n                return Ok(false);",
    },
    Mutant {
        name: "skip the fence",
        file: "crates/keywheel-rotation/src/rotator/save.rs",
        from: "                .wake_at(change.wake_at)\n                .under(&work.lease, change.lease);",
        to: "                .wake_at(change.wake_at);",
    },
    Mutant {
        name: "mint without an intent",
        file: "crates/keywheel-rotation/src/rotator/steps.rs",
        from: "        if !self.save(work, Some(&intent), Fold::Nothing).await? {",
        to: "        if false && !self.save(work, Some(&intent), Fold::Nothing).await? {",
    },
];

/// Makes each mutant in a copy of the sources and runs the engine's tests on it. Fails when one survives.
///
/// What it prints is the table of `crates/keywheel-rotation/MUTANTS.md`.
pub(crate) fn run(only: Option<&str>) -> ExitCode {
    match judge_all(only) {
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

fn judge_all(only: Option<&str>) -> io::Result<usize> {
    let tests = Tests::prepare()?;
    let wanted = |mutant: &&Mutant| only.is_none_or(|word| mutant.name.contains(word));
    let mut survivors = 0;
    for mutant in MUTANTS.iter().filter(wanted) {
        let verdict = tests.judge(mutant)?;
        survivors += usize::from(!matches!(verdict, Verdict::Killed(_)));
        println!("| {} | {verdict} |", mutant.name);
    }
    Ok(survivors)
}

/// What came of a mutant.
enum Verdict {
    /// By these tests; by none when they did not end.
    Killed(Vec<String>),
    Survived,
    /// The mutant is wrong, not the tests.
    Unfit(&'static str),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Killed(failed) => match failed.as_slice() {
                [] => f.write_str("the tests did not end"),
                [one] => write!(f, "`{one}`"),
                [one, more @ ..] => write!(f, "`{one}` and {} more", more.len()),
            },
            Self::Survived => f.write_str("SURVIVED"),
            Self::Unfit(why) => write!(f, "{why}: correct the mutant"),
        }
    }
}

/// The engine's tests, in a copy of the sources.
struct Tests {
    copy: PathBuf,
    patience: Duration,
}

/// The decisions first: they are quick, and one failure is enough.
const SUITES: [&str; 2] = ["--lib decide", "--test rotation"];

/// How many times as long as on the engine as it is the tests may take on a mutant.
const PATIENCE: u32 = 8;

impl Tests {
    /// Copies the sources, and sees the tests pass on the engine as it is.
    fn prepare() -> io::Result<Self> {
        let copy = root().join("target/mutants");
        copy_sources(&copy)?;
        let mut tests = Self {
            copy,
            patience: Duration::from_secs(3_600),
        };
        let mut longest = Duration::from_secs(30);
        for suite in SUITES {
            if !tests.cargo(suite, &["--no-run"])?.status.success() {
                return Err(io::Error::other("the tests do not compile"));
            }
            let started = now();
            if !tests.cargo(suite, &[])?.status.success() {
                return Err(io::Error::other("the tests fail without any mutant"));
            }
            longest = longest.max(started.elapsed());
        }
        tests.patience = longest * PATIENCE;
        Ok(tests)
    }

    fn judge(&self, mutant: &Mutant) -> io::Result<Verdict> {
        let path = self.copy.join(mutant.file);
        let source = fs::read_to_string(&path)?;
        if source.matches(mutant.from).count() != 1 {
            return Ok(Verdict::Unfit("the source has changed"));
        }
        fs::write(&path, source.replace(mutant.from, mutant.to))?;
        let verdict = self.first_failure();
        fs::write(&path, source)?;
        verdict
    }

    fn first_failure(&self) -> io::Result<Verdict> {
        for suite in SUITES {
            // Its time does not count: the first build of a copy may take many minutes.
            if !self.cargo(suite, &["--no-run"])?.status.success() {
                return Ok(Verdict::Unfit("does not compile"));
            }
            let output = self.cargo(suite, &[])?;
            if !output.status.success() {
                return Ok(Verdict::Killed(failed_tests(&output.stdout)));
            }
        }
        Ok(Verdict::Survived)
    }

    /// Runs a suite in a target folder of its own: Cargo would take a mutant's libraries for the workspace's.
    fn cargo(&self, suite: &str, more: &[&str]) -> io::Result<Output> {
        Command::new("timeout")
            .arg(self.patience.as_secs().to_string())
            .arg(env!("CARGO"))
            // The features of the whole workspace, so that no dependency is built anew.
            .args(["test", "--workspace", "--all-features", "--locked"])
            .args(suite.split(' '))
            .args(more)
            .env("CARGO_TARGET_DIR", self.copy.join("target"))
            .current_dir(&self.copy)
            .output()
    }
}

/// The names in lines like `test faults::prove::p09 ... FAILED`.
fn failed_tests(stdout: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stdout);
    let lines = text.lines().filter_map(|line| line.strip_prefix("test "));
    let failed = lines.filter_map(|line| line.strip_suffix(" ... FAILED"));
    failed.map(str::to_owned).collect()
}

fn copy_sources(to: &Path) -> io::Result<()> {
    let listed = Command::new("git")
        .args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ])
        .current_dir(root())
        .output()?;
    for file in String::from_utf8_lossy(&listed.stdout).split_terminator('\0') {
        let (source, target) = (root().join(file), to.join(file));
        if let Some(folder) = target.parent() {
            fs::create_dir_all(folder)?;
        }
        if source.is_file() && fs::read(&source).ok() != fs::read(&target).ok() {
            fs::copy(source, target)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_docs_say_by_what_each_mutant_was_noticed() {
        let docs = root().join("crates/keywheel-rotation/MUTANTS.md");
        let docs = fs::read_to_string(docs).unwrap();

        for Mutant { name, .. } in MUTANTS {
            assert!(docs.contains(&format!("| {name} | `")), "{name}");
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
