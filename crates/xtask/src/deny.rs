//! cargo-deny, of the version that deny.toml was written for.

use std::path::PathBuf;
use std::process::Command;

use crate::step::{cargo, root};

const VERSION: &str = "0.20.2";

/// Checks the dependencies' bans, licences and sources, without the network. Advisories are not among
/// them: their database can't be had from a package registry.
pub(crate) fn check() -> bool {
    let Some(deny) = installed().or_else(install) else {
        eprintln!("cargo-deny {VERSION} could not be installed: cargo install cargo-deny --locked");
        return false;
    };
    Command::new(deny)
        .args([
            "--offline",
            "--all-features",
            "check",
            "bans",
            "licenses",
            "sources",
        ])
        .current_dir(root())
        .status()
        .is_ok_and(|status| status.success())
}

fn own() -> PathBuf {
    root().join("target/tools/bin/cargo-deny")
}

/// One on the path will do if it is of the right version.
fn installed() -> Option<PathBuf> {
    [own(), PathBuf::from("cargo-deny")]
        .into_iter()
        .find(|deny| {
            let output = Command::new(deny).arg("--version").output();
            output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(VERSION))
        })
}

fn install() -> Option<PathBuf> {
    let words = format!("install cargo-deny --locked --version {VERSION} --root target/tools");
    let status = cargo(&words).status().ok()?;
    status.success().then(own)
}
