//! PARITY.md says what the emulator does, and these tests hold it to that.

use std::collections::BTreeSet;
use std::path::Path;

use http::Method;
use keywheel_emulator::{Behaviours, Emulator, Fault, Route, Seed};
use serde_json::{Value, json};

use crate::client::Bench;

const PAGE: &str = include_str!("../../PARITY.md");

/// Returns the cells of every row but the heads, and the section each stands in.
fn rows() -> Vec<(&'static str, Vec<&'static str>)> {
    let mut section = "";
    let mut rows = Vec::new();
    for line in PAGE.lines() {
        section = line.strip_prefix("## ").unwrap_or(section);
        let cells = line.strip_prefix("| ").and_then(|it| it.strip_suffix(" |"));
        let cells: Vec<&str> = cells
            .into_iter()
            .flat_map(|it| it.split(" | "))
            .map(str::trim)
            .collect();
        if !cells.is_empty() && !["what", "path"].contains(&cells[0]) {
            rows.push((section, cells));
        }
    }
    rows
}

/// Returns what stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// Returns `module::name` of every test in a folder of test modules.
fn tests_in(folder: &str) -> BTreeSet<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests")
        .join(folder);
    let files = std::fs::read_dir(&folder)
        .unwrap()
        .map(|it| it.unwrap().path());
    let mut found = BTreeSet::new();
    for file in files {
        let module = match file.file_stem().unwrap().to_str().unwrap() {
            "main" => folder.file_name().unwrap().to_str().unwrap(),
            module => module,
        };
        let text = std::fs::read_to_string(&file).unwrap();
        let mut is_test = false;
        for line in text.lines().map(str::trim) {
            is_test |= line.starts_with("#[tokio::test") || line == "#[test]";
            let name = line.split("fn ").nth(1).and_then(|it| it.split('(').next());
            if let Some(name) = name.filter(|_| is_test) {
                found.insert(format!("{module}::{name}"));
                is_test = false;
            }
        }
    }
    found
}

#[test]
fn the_page_names_every_test_and_every_test_it_names_exists() {
    let mut exist = tests_in("service");
    exist.extend(tests_in("interop"));
    let mut named = BTreeSet::new();
    for (section, cells) in rows().iter().filter(|(section, _)| *section != "Absent") {
        assert_eq!(cells.len(), 4, "{section}: {cells:?}");
        assert!(
            ["absent", "ours", "real", "settable"].contains(&cells[1]),
            "{cells:?}"
        );
        assert!(quoted(cells[3]).count() > 0, "nothing shows {:?}", cells[0]);
        named.extend(quoted(cells[3]).map(str::to_owned));
    }

    let invented: Vec<_> = named.difference(&exist).collect();
    let unnamed: Vec<_> = exist.difference(&named).collect();

    assert!(invented.is_empty(), "no such test: {invented:?}");
    assert!(unnamed.is_empty(), "not on the page: {unnamed:?}");
}

#[tokio::test]
async fn the_page_has_every_route_behaviour_fault_and_admin_endpoint() {
    let quoted: BTreeSet<&str> = rows()
        .iter()
        .flat_map(|(_, cells)| cells[..cells.len() - 1].iter())
        .flat_map(|cell| quoted(cell))
        .flat_map(|it| [it, it.split(": ").next().unwrap_or(it)])
        .collect();
    let has = |name: &str| quoted.contains(name) || PAGE.contains(&format!("`{name}`"));

    let routes = Route::ALL.iter().map(|route| route.as_str().to_owned());
    let behaviours = json!(Behaviours::default());
    let behaviours = behaviours.as_object().unwrap().keys().cloned();
    let actions = [
        Fault::close(),
        Fault::delay(std::time::Duration::ZERO),
        Fault::handshake(std::time::Duration::ZERO),
        Fault::reset(),
        Fault::respond(500),
        Fault::stall(0),
        Fault::truncate(0),
    ]
    .map(|fault| match json!(fault)["action"].clone() {
        Value::String(name) => name,
        action => action.as_object().unwrap().keys().next().unwrap().clone(),
    });
    let missing: Vec<String> = routes
        .chain(behaviours)
        .chain(actions)
        .filter(|name| !has(name))
        .collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");

    let bench = Bench::start().await;
    let url = format!("{}/_emulator/", bench.emulator.authority());
    let index = bench.client.get(&url, &[]).await.json();
    for endpoint in index["endpoints"].as_array().unwrap() {
        // Without what may be sent along.
        let endpoint = endpoint.as_str().unwrap();
        let plain = endpoint.split(" {").next().unwrap();
        let plain = plain.split('?').next().unwrap();
        assert!(has(plain), "not on the page: {plain}");
    }
}

#[tokio::test]
async fn what_the_page_calls_absent_is_not_found() {
    let bench = Bench::start().await;
    let authorization = format!("Bearer {}", bench.token().await);
    let headers = [("authorization", authorization.as_str())];
    let mut asked = 0;

    for (_, cells) in rows().iter().filter(|(section, _)| *section == "Absent") {
        let (method, path) = cells[0].trim_matches('`').split_once(' ').unwrap();
        let path = path.replace("{tenant}", bench.app().tenant_id());
        let url = format!("{}{path}", bench.emulator.authority());
        let method: Method = method.parse().unwrap();
        let answer = bench.client.send(method, &url, &headers, "").await.unwrap();
        assert_eq!(answer.status, 404, "{path}: {answer:?}");
        assert_eq!(
            bench.emulator.requests().last().unwrap().route,
            Route::Unserved,
            "{path}"
        );
        asked += 1;
    }
    assert!(asked > 5, "{asked}");
}

#[tokio::test]
async fn the_seed_that_shows_every_field_starts() {
    let text = include_str!("../../seed.toml");
    let behaviours = json!(Behaviours::default());
    for name in behaviours.as_object().unwrap().keys() {
        assert!(text.contains(&format!("{name} =")), "{name} is not shown");
    }

    let emulator = Emulator::builder()
        .seed(Seed::from_toml(text).unwrap())
        .start()
        .await
        .unwrap();

    assert_eq!(emulator.default_app().domain(), "contoso.example");
    assert_eq!(emulator.faults().len(), 1);
    assert_eq!(emulator.behaviours().replicas, 3);
    let held = emulator.live_secrets(emulator.default_app().client_id());
    let old = held
        .iter()
        .find(|it| it.display_name.as_deref() == Some("old"));
    let years = old.unwrap().end - old.unwrap().start;
    assert_eq!(years, chrono::TimeDelta::days(365), "{held:?}");
    let error = Seed::from_toml("[[tenants]]\npolicy.created_after = 2026-01-01").unwrap_err();
    assert!(error.to_string().contains("with its offset"), "{error}");
}
