//! `cargo xtask test`.

use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::{fs, io};

use crate::step::{Steps, cargo, root};
use crate::{deny, monitoring, packages};

/// How much is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    Full,
    Plain,
    Quick,
}

/// The examples that end by themselves and need no network, with what they are told on the command line.
const EXAMPLES: [(&str, &[&str]); 10] = [
    ("authorization_code", &["--check"]),
    ("azure_sdk", &[]),
    ("certificate", &[]),
    ("client_secret", &[]),
    ("embed_in_service", &["--listen", "127.0.0.1:0", "--check"]),
    ("envelope_sealer", &[]),
    ("expiring_credentials", &[]),
    ("preflight", &[]),
    ("quickstart", &[]),
    (
        "watch",
        &["--no-tty", "--connections", "4", "--rotations", "6"],
    ),
];

pub(crate) fn run(extent: Extent) -> ExitCode {
    let mut steps = Steps::default();
    steps.call("programs that the tests need", packages::install);
    steps.run("format", &mut cargo("fmt --all --check"));
    steps.run(
        "clippy",
        &mut cargo("clippy --workspace --all-targets --all-features --locked -- -D warnings"),
    );
    let mut tests = cargo("test --workspace --all-features --locked --no-fail-fast");
    if extent == Extent::Full {
        tests.env("KEYWHEEL_TEST_FULL", "1");
    }
    tests.env("KEYWHEEL_FIGURES", figures());
    steps.call("room for the figures of the tests", || {
        empty_figures().is_ok()
    });
    steps.run("tests and doctests", &mut tests);
    steps.call("figures of the tests", || print_figures().is_ok());
    if extent != Extent::Quick {
        slow(&mut steps);
        clients(&mut steps, extent);
    }
    if extent == Extent::Full {
        steps.call("alert rules and dashboard (promtool)", monitoring::check);
        steps.call("dashboard (Grafana's types)", monitoring::check_dashboard);
    }
    steps.finish()
}

/// Where tests write down what they measured.
fn figures() -> PathBuf {
    root().join("target/figures")
}

fn empty_figures() -> io::Result<()> {
    if figures().exists() {
        fs::remove_dir_all(figures())?;
    }
    fs::create_dir_all(figures())
}

/// Fails when there are none: then a test does not tell any more what it did.
fn print_figures() -> io::Result<()> {
    let mut paths: Vec<_> = fs::read_dir(figures())?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<io::Result<_>>()?;
    paths.sort();
    if paths.is_empty() {
        return Err(io::ErrorKind::NotFound.into());
    }
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        println!("{name}: {}", fs::read_to_string(&path)?.trim_end());
    }
    Ok(())
}

fn slow(steps: &mut Steps) {
    // All features together answer from fresh time zone data; this is what is said without.
    steps.run(
        "stale time zones are warned of",
        &mut cargo("test -p keywheel-schedule --lib --locked -- zone:: schedule::"),
    );
    // Most were built with the tests just now, but for those that are tests themselves.
    steps.run(
        "examples",
        &mut cargo("build --workspace --all-features --locked --examples"),
    );
    for (example, arguments) in EXAMPLES {
        // `cargo run` would build it again with fewer features.
        let path = root().join("target/debug/examples").join(example);
        steps.run(
            &format!("example {example}"),
            Command::new(path).args(arguments).current_dir(root()),
        );
    }
    steps.run(
        "docs",
        cargo("doc --workspace --no-deps --all-features --locked")
            .env("RUSTDOCFLAGS", "-D warnings"),
    );
    steps.call("dependencies (cargo deny)", deny::check);
}

/// Other people's clients against the emulator. They are installed where they are missing: seconds for
/// Python and Node, minutes for Rust the first time.
fn clients(steps: &mut Steps, extent: Extent) {
    // The features of the whole workspace, so that nothing is built anew.
    let mut arguments =
        "test --workspace --all-features --locked --test interop -- --ignored".to_owned();
    if extent != Extent::Full {
        arguments.push_str(" --skip for_node");
    }
    steps.run("other people's clients", &mut cargo(&arguments));
}
