use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::list::Mutant;
use crate::step::{now, root};

/// What came of a mutant.
#[derive(Debug)]
pub(super) enum Verdict {
    /// In the order of [`SUITES`].
    Judged([Judgement; 2]),
    /// The mutant is wrong, not the tests.
    Unfit(&'static str),
}

impl Verdict {
    pub(super) fn is_noticed(&self) -> bool {
        match self {
            Self::Judged(each) => each.iter().any(|it| !matches!(it, Judgement::Passed)),
            Self::Unfit(_) => false,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Judged([decisions, rotation]) => write!(f, "{decisions} | {rotation}"),
            Self::Unfit(why) => write!(f, "{why} | correct the mutant"),
        }
    }
}

/// What one suite made of a mutant.
#[derive(Debug)]
pub(super) enum Judgement {
    Passed,
    /// These tests failed, of those that had their turn.
    Failed {
        tests: Vec<String>,
        ended: bool,
    },
}

/// The suite's time was over.
pub(super) const ENDLESS: &str = "did not end";

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Failed { tests, ended } = self else {
            return f.write_str("not noticed");
        };
        match tests.as_slice() {
            [] if *ended => f.write_str("`broke off`"),
            [] => f.write_str(ENDLESS),
            [one] => write!(f, "`{one}`"),
            [one, more @ ..] => write!(f, "`{one}` and {} more", more.len()),
        }?;
        if *ended || tests.is_empty() {
            return Ok(());
        }
        write!(f, "; {ENDLESS}")
    }
}

/// A test program of the engine, and which of its tests.
struct Suite {
    /// How its path begins.
    name: &'static str,
    package: &'static str,
    filter: Option<&'static str>,
}

const SUITES: [Suite; 2] = [
    Suite {
        name: "target/debug/deps/unit-",
        package: ENGINE,
        filter: Some("decide::"),
    },
    Suite {
        name: "target/debug/deps/rotation-",
        package: "tests",
        filter: None,
    },
];

const ENGINE: &str = "crates/keywheel-rotation";

/// How many times as long as on the engine as it is a suite may take on a mutant. One that it makes spin never
/// ends.
const PATIENCE: u32 = 4;

/// The engine's tests, in a copy of the sources.
pub(super) struct Suites {
    copy: PathBuf,
    patience: Duration,
}

impl Suites {
    /// Copies the sources, and sees the tests pass on the engine as it is.
    pub(super) fn prepare() -> io::Result<Self> {
        let copy = root().join("target/mutants");
        let target = copy.join("target");
        copy_sources(&copy, !target.exists())?;
        seed(&target)?;
        let mut suites = Self {
            copy,
            patience: Duration::from_mins(10),
        };
        let Some(programs) = suites.build()? else {
            return Err(io::Error::other("the tests do not compile"));
        };
        let started = now();
        for (suite, program) in SUITES.iter().zip(&programs) {
            let judgement = suites.run(suite, program)?;
            if !matches!(judgement, Judgement::Passed) {
                let failed = format!("the tests fail without any mutant: {judgement}");
                return Err(io::Error::other(failed));
            }
        }
        let took = started.elapsed();
        eprintln!("without any mutant the tests pass in {took:.1?}");
        suites.patience = took.max(Duration::from_secs(5)) * PATIENCE;
        Ok(suites)
    }

    pub(super) fn judge(&self, mutant: &Mutant) -> io::Result<Verdict> {
        let path = self.copy.join(mutant.file);
        let source = fs::read_to_string(&path)?;
        if source.matches(mutant.from).count() != 1 {
            return Ok(Verdict::Unfit("the source has changed"));
        }
        fs::write(&path, source.replace(mutant.from, mutant.to))?;
        let verdict = self.judge_source();
        fs::write(&path, source)?;
        verdict
    }

    /// Both suites run, whatever the first one says.
    fn judge_source(&self) -> io::Result<Verdict> {
        let Some([decisions, rotation]) = self.build()? else {
            return Ok(Verdict::Unfit("does not compile"));
        };
        Ok(Verdict::Judged([
            self.run(&SUITES[0], &decisions)?,
            self.run(&SUITES[1], &rotation)?,
        ]))
    }

    /// Returns the suites' programs, unless they do not compile.
    ///
    /// In a target folder of its own: Cargo would take a mutant's libraries for the workspace's. And with the
    /// features of the whole workspace, so that no dependency is built anew.
    fn build(&self) -> io::Result<Option<[PathBuf; 2]>> {
        let built = Command::new(env!("CARGO"))
            .args(["test", "--workspace", "--all-features", "--locked"])
            .args(["--no-run", "--test", "unit", "--test", "rotation"])
            .env("CARGO_TARGET_DIR", "target")
            .current_dir(&self.copy)
            .output()?;
        let said = String::from_utf8_lossy(&built.stderr);
        if !built.status.success() {
            eprintln!("{said}");
            return Ok(None);
        }
        let find = |suite: &Suite| self.program(&said, suite);
        match (find(&SUITES[0]), find(&SUITES[1])) {
            (Some(decisions), Some(rotation)) => Ok(Some([decisions, rotation])),
            _ => Err(io::Error::other(format!("no test programs in: {said}"))),
        }
    }

    /// Finds `Executable rotation/main.rs (target/debug/deps/rotation-0123)`.
    fn program(&self, said: &str, suite: &Suite) -> Option<PathBuf> {
        let line = said.lines().find(|line| line.contains(suite.name))?;
        let (_, path) = line.trim_end_matches(')').split_once('(')?;
        Some(self.copy.join(path))
    }

    fn run(&self, suite: &Suite, program: &Path) -> io::Result<Judgement> {
        let run = Command::new("timeout")
            .arg(format!("{}", self.patience.as_secs()))
            .arg(program)
            .args(suite.filter)
            .current_dir(self.copy.join(suite.package))
            .output()?;
        if run.status.success() {
            return Ok(Judgement::Passed);
        }
        Ok(Judgement::Failed {
            tests: failed_tests(&run.stdout),
            ended: run.status.code() != Some(TIME_IS_OVER),
        })
    }
}

/// What `timeout` says then.
const TIME_IS_OVER: i32 = 124;

/// The names in lines like `test faults::prove::p09 ... FAILED`.
fn failed_tests(stdout: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(stdout);
    let lines = text.lines().filter_map(|line| line.strip_prefix("test "));
    let failed = lines.filter_map(|line| line.strip_suffix(" ... FAILED"));
    let mut failed: Vec<_> = failed.map(str::to_owned).collect();
    failed.sort();
    failed
}

/// As old as they are, of what was built of them elsewhere Cargo takes all for fresh. Not where mutants were built
/// before: what is built of a mutant is younger than the source that takes its place again.
fn copy_sources(to: &Path, as_old: bool) -> io::Result<()> {
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
        if !source.is_file() {
            continue;
        }
        let mut content = fs::read(&source)?;
        if source.ends_with("Cargo.toml") && file != "Cargo.toml" {
            content = adapted(file, &String::from_utf8_lossy(&content)).into();
        }
        if fs::read(&target).ok().as_ref() != Some(&content) {
            fs::write(&target, content)?;
            if as_old {
                let written = fs::metadata(&source)?.modified()?;
                let copied = fs::File::options().write(true).open(&target)?;
                copied.set_modified(written)?;
            }
        }
    }
    Ok(())
}

/// A crate's manifest for the copy. The engine's unit tests are a test by name, since those of one crate alone
/// can't be asked for; and there are no programs, since Cargo builds them before the tests of their package.
fn adapted(file: &str, manifest: &str) -> String {
    let mut sections: Vec<String> = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') || sections.is_empty() {
            sections.push(String::new());
        }
        if let Some(section) = sections.last_mut() {
            *section += &format!("{line}\n");
        }
    }
    sections.retain(|section| !section.starts_with("[[bin]]"));
    if Path::new(file).starts_with(ENGINE) {
        sections.push("\n[[test]]\nname = \"unit\"\npath = \"src/lib.rs\"\n".to_owned());
    }
    sections.concat()
}

/// Begins with what is built of the workspace already, which saves minutes.
fn seed(target: &Path) -> io::Result<()> {
    let built = root().join("target/debug");
    if target.exists() || !built.exists() {
        return Ok(());
    }
    // With their times, by which Cargo sees what is fresh.
    let copy = r#"mkdir -p "$to/deps" && cp -a .fingerprint build "$to/" && cd deps &&
                  cp -a ./*.rlib ./*.rmeta ./*.so ./*.d "$to/deps/""#;
    let mut shell = Command::new("sh");
    let shell = shell.args(["-c", copy]).current_dir(built);
    shell.env("to", target.join("debug"));
    if shell.status()?.success() {
        Ok(())
    } else {
        Err(io::Error::other("the dependencies could not be copied"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed(tests: &[&str], ended: bool) -> Judgement {
        let tests = tests.iter().map(|&test| test.to_owned()).collect();
        Judgement::Failed { tests, ended }
    }

    #[test]
    fn one_suite_is_enough_and_the_table_shows_which() {
        let rows = [
            ([failed(&["a", "b"], true), Judgement::Passed], true),
            ([Judgement::Passed, failed(&[], false)], true),
            ([failed(&["a"], true), failed(&["b"], false)], true),
            ([Judgement::Passed, Judgement::Passed], false),
        ];
        let judged = rows.map(|(judgements, noticed)| {
            let verdict = Verdict::Judged(judgements);
            assert_eq!(verdict.is_noticed(), noticed, "{verdict}");
            verdict.to_string()
        });

        assert_eq!(
            judged,
            [
                "`a` and 1 more | not noticed",
                "not noticed | did not end",
                "`a` | `b`; did not end",
                "not noticed | not noticed",
            ]
        );
        assert!(!Verdict::Unfit("does not compile").is_noticed());
    }

    #[test]
    fn the_copy_has_the_engines_unit_tests_by_name_and_no_programs() {
        let manifest = "[package]\nname = \"one\"\n\n[[bin]]\nname = \"two\"\n\n[dependencies]\n";
        let without = "[package]\nname = \"one\"\n\n[dependencies]\n";

        assert_eq!(adapted("tests/Cargo.toml", manifest), without);
        let engine = adapted("crates/keywheel-rotation/Cargo.toml", manifest);
        let unit = engine.strip_prefix(without).unwrap();
        assert!(unit.contains("path = \"src/lib.rs\""), "{unit}");
    }
}
