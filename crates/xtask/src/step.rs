//! Steps, and the table of what came of them.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

/// What was run so far.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    done: Vec<(String, bool, Duration)>,
}

impl Steps {
    /// Runs a command to its end. Later steps run even if it fails: one run shows all there is to mend.
    pub(crate) fn run(&mut self, name: &str, command: &mut Command) {
        self.call(name, || {
            let status = command.status();
            status.is_ok_and(|status| status.success())
        });
    }

    /// Runs a step of our own.
    pub(crate) fn call(&mut self, name: &str, step: impl FnOnce() -> bool) {
        eprintln!("\n── {name}");
        let started = now();
        let passed = step();
        self.done.push((name.to_owned(), passed, started.elapsed()));
    }

    /// Prints the table.
    pub(crate) fn finish(self) -> ExitCode {
        let width = self
            .done
            .iter()
            .map(|(name, ..)| name.len())
            .max()
            .unwrap_or(0);
        let total: Duration = self.done.iter().map(|(.., time)| *time).sum();
        println!("\n{:width$}  result  {:>9}", "step", "time");
        for (name, passed, time) in &self.done {
            let result = if *passed { "passed" } else { "FAILED" };
            println!("{name:width$}  {result}  {:>7.1} s", time.as_secs_f64());
        }
        println!("{:width$}          {:>7.1} s", "", total.as_secs_f64());
        if self.done.iter().all(|(_, passed, _)| *passed) {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        }
    }
}

/// Cargo, in the workspace's root.
pub(crate) fn cargo(words: &str) -> Command {
    let mut command = Command::new(env!("CARGO"));
    command.args(words.split_whitespace()).current_dir(root());
    command
}

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[expect(
    clippy::disallowed_methods,
    reason = "measures its own steps; no test looks at it"
)]
pub(crate) fn now() -> Instant {
    Instant::now()
}
