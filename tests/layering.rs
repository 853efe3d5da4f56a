//! The direction of dependencies between our crates, held by `cargo metadata`.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::Value;

/// Each published crate, and which of ours it may depend on.
const ALLOWED: &[(&str, &[&str])] = &[
    ("keywheel-core", &[]),
    ("keywheel-schedule", &[]),
    ("keywheel-credentials", &["core"]),
    ("keywheel-graph", &["core"]),
    ("keywheel-connection", &["core", "schedule"]),
    (
        "keywheel-entra",
        &["core", "credentials", "graph", "connection"],
    ),
    ("keywheel-rotation", &["core", "schedule", "connection"]),
    ("keywheel-sqlite", &["core", "connection"]),
    ("keywheel-postgres", &["core", "connection"]),
    (
        "keywheel-axum",
        &["core", "connection", "entra", "rotation"],
    ),
    ("keywheel-emulator", &[]),
    (
        "keywheel",
        &[
            "core",
            "schedule",
            "credentials",
            "graph",
            "connection",
            "entra",
            "rotation",
            "sqlite",
            "postgres",
            "axum",
        ],
    ),
];

/// Crates of others that only these of ours may depend on directly.
const RESERVED: &[(&str, &[&str])] = &[("reqwest", &["keywheel-core"])];

#[test]
fn crates_depend_downwards_only() {
    let allowed: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    for (name, dependencies) in published() {
        let allowed = allowed
            .get(name.as_str())
            .unwrap_or_else(|| panic!("{name} is new: say in this table what it may depend on"));
        for dependency in dependencies {
            if let Some(ours) = dependency.strip_prefix("keywheel-") {
                assert!(
                    allowed.contains(&ours),
                    "{name} must not depend on {dependency}"
                );
            }
        }
    }
}

#[test]
fn one_crate_sends_requests() {
    for (name, dependencies) in published() {
        for (reserved, wrappers) in RESERVED {
            assert!(
                wrappers.contains(&name.as_str()) || !dependencies.iter().any(|d| d == reserved),
                "{name} must not depend on {reserved}"
            );
        }
    }
}

#[test]
fn the_facade_knows_the_time_zones_of_today() {
    let packages = packages();
    let facade = packages
        .iter()
        .find(|package| package["name"] == "keywheel");
    let dependencies = facade.unwrap()["dependencies"].as_array().unwrap();
    let schedule = dependencies
        .iter()
        .find(|dependency| dependency["name"] == "keywheel-schedule");
    let features = schedule.unwrap()["features"].as_array().unwrap();
    assert!(
        features.iter().any(|feature| feature == "fresh-tzdb"),
        "chrono-tz's own data is wrong for 15 zones: turn on fresh-tzdb"
    );
}

/// Every published crate with its normal and build dependencies.
fn published() -> Vec<(String, Vec<String>)> {
    packages()
        .iter()
        .filter(|package| package["publish"].is_null())
        .map(|package| (text(&package["name"]), dependencies(package)))
        .collect()
}

fn packages() -> Vec<Value> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--format-version=1", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    metadata["packages"].as_array().unwrap().clone()
}

fn dependencies(package: &Value) -> Vec<String> {
    let all = package["dependencies"].as_array().unwrap();
    all.iter()
        .filter(|dependency| dependency["kind"] != "dev")
        .map(|dependency| text(&dependency["name"]))
        .collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}
