//! Mutants of the order of things: each breaks a rule that the engine lives by, and a test must notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use crate::step::root;

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
        name: "forget the marker",
        file: "crates/keywheel-rotation/src/apply/minting.rs",
        from: "            .push(DeadMarker::new(marker, self.now, self.now));",
        to: "            .truncate(usize::from(marker.generation() > 99));",
    },
    Mutant {
        name: "believe one read",
        file: "crates/keywheel-rotation/src/apply/reading.rs",
        from: "            let old = sent_at - debt.since >= self.policy.settle;\n",
        to: "            let old = sent_at >= debt.since;\n",
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
pub(crate) fn run(only: Option<&str>) -> ExitCode {
    let copy = root().join("target/mutants");
    if let Err(error) = copy_sources(&copy) {
        eprintln!("the sources can't be copied to {}: {error}", copy.display());
        return ExitCode::FAILURE;
    }
    let wanted = |mutant: &&Mutant| only.is_none_or(|word| mutant.name.contains(word));
    let mut survivors = 0;
    for mutant in MUTANTS.iter().filter(wanted) {
        let came_of_it = match mutate(&copy, mutant) {
            Ok(()) => tests(&copy),
            Err(problem) => problem,
        };
        survivors += u32::from(!came_of_it.starts_with("killed"));
        println!("{:44} {came_of_it}", mutant.name);
        if let Err(error) = restore(&copy, mutant.file) {
            eprintln!("{}: {error}", mutant.file);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::from(u8::from(survivors > 0))
}

fn copy_sources(to: &Path) -> std::io::Result<()> {
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

fn mutate(copy: &Path, mutant: &Mutant) -> Result<(), &'static str> {
    let path: PathBuf = copy.join(mutant.file);
    let source = fs::read_to_string(&path).map_err(|_| "the file is missing")?;
    if source.matches(mutant.from).count() != 1 {
        return Err("the source has changed: correct the mutant");
    }
    let source = source.replace(mutant.from, mutant.to);
    fs::write(path, source).map_err(|_| "can't be written")
}

fn restore(copy: &Path, file: &str) -> std::io::Result<()> {
    fs::copy(root().join(file), copy.join(file)).map(drop)
}

/// How many seconds the tests may take on a mutant. On the engine as it is they take one to two minutes.
const PATIENCE: &str = "600";

/// Runs the tests in a target folder of their own: Cargo would take a mutant's libraries for the workspace's.
fn tests(copy: &Path) -> &'static str {
    let code = |command: &mut Command| {
        let quiet = command
            .env("CARGO_TARGET_DIR", copy.join("target"))
            .current_dir(copy)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        quiet.status().ok().and_then(|status| status.code())
    };
    // One failure is enough.
    for wanted in ["--test rotation", "--lib decide"] {
        // The features of the whole workspace, so that no dependency is built anew.
        let words = format!("test --workspace --all-features --locked {wanted}");
        let words: Vec<_> = words.split(' ').collect();
        let cargo = env!("CARGO");
        if code(Command::new(cargo).args(&words).arg("--no-run")) != Some(0) {
            return "does not compile: correct the mutant";
        }
        match code(Command::new("timeout").args([PATIENCE, cargo]).args(&words)) {
            Some(0) => {}
            Some(HUNG) => return "killed: the tests hung",
            _ => return "killed",
        }
    }
    "SURVIVED"
}

/// What timeout(1) says of a program that it ended.
const HUNG: i32 = 124;
