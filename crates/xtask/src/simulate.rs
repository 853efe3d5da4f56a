//! `cargo xtask simulate`: the simulation with optimisation, which its many runs are worth.

use std::process::ExitCode;

use crate::step::cargo;

pub(crate) fn run(options: &[&str]) -> ExitCode {
    let status =
        cargo("run --quiet --locked --profile simulation -p workspace-tests --bin simulate --")
            .args(options)
            .status();
    match status.ok().and_then(|status| status.code()) {
        Some(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        None => ExitCode::FAILURE,
    }
}
