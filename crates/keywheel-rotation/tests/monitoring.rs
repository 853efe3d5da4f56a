//! The list of metrics, the alert rules and the dashboard: they load, and name what there is.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::collections::BTreeSet;

use keywheel_connection::{DebtReason, TroubleKind};
use keywheel_rotation::{METRICS, MetricKind};
use serde_json::Value;
use yaml_rust2::{Yaml, YamlLoader};

const LIST: &str = include_str!("../METRICS.md");
const ALERTS: &str = include_str!("../monitoring/alerts.yaml");
const DASHBOARD: &str = include_str!("../monitoring/dashboard.json");

#[test]
fn the_list_says_what_each_metric_means() {
    let rows: Vec<String> = METRICS
        .iter()
        .map(|metric| {
            let labels: Vec<_> = metric.labels.iter().map(|it| format!("`{it}`")).collect();
            let kind = format!("{:?}", metric.kind).to_lowercase();
            format!(
                "| `{}` | {kind} | {} | {} |",
                metric.name,
                labels.join(", "),
                metric.meaning
            )
        })
        .collect();
    let listed: Vec<_> = LIST
        .lines()
        .filter(|line| line.starts_with("| `"))
        .collect();
    assert_eq!(listed, rows, "the table should be:\n{}", rows.join("\n"));
}

#[test]
fn the_list_has_every_value_of_kind_and_reason() {
    let kinds = [
        TroubleKind::ApplicationUnusable,
        TroubleKind::LimitReached,
        TroubleKind::LockedOut,
        TroubleKind::MethodForbidden,
        TroubleKind::PermissionMissing,
        TroubleKind::Refused,
        TroubleKind::StoreBehind,
        TroubleKind::Transient,
    ];
    let reasons = [
        DebtReason::Aborted,
        DebtReason::Deleted,
        DebtReason::Orphan,
        DebtReason::Quarantined,
        DebtReason::Superseded,
    ];
    let words = kinds.map(|kind| serde_json::to_value(kind).unwrap());
    let reasons = reasons.map(|reason| serde_json::to_value(reason).unwrap());
    for word in words.iter().chain(&reasons) {
        let word = word.as_str().unwrap();
        assert!(LIST.contains(&format!("`{word}`")), "{word}");
    }
}

#[test]
fn alert_rules_are_whole_and_name_metrics_that_exist() {
    let loaded = YamlLoader::load_from_str(ALERTS).unwrap();
    let rules = loaded[0]["groups"][0]["rules"].as_vec().unwrap();
    let mut names = BTreeSet::new();
    for rule in rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(names.insert(name), "{name} stands there twice");
        for wanted in [
            &rule["labels"]["severity"],
            &rule["annotations"]["summary"],
            &rule["annotations"]["action"],
        ] {
            assert!(!wanted.as_str().unwrap_or_default().is_empty(), "{name}");
        }
        if let Yaml::String(span) = &rule["for"] {
            let (number, unit) = span.split_at(span.len() - 1);
            assert!(
                number.parse::<u32>().is_ok() && "smhd".contains(unit),
                "{name}"
            );
        }
        assert_expression(rule["expr"].as_str().unwrap());
    }
    assert!(rules.len() >= 10, "{names:?}");
}

#[test]
fn the_dashboard_is_whole_and_shows_every_metric() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let mut shown = BTreeSet::new();
    let mut places = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(!panel["title"].as_str().unwrap().is_empty());
        let place = &panel["gridPos"];
        assert!(places.insert((place["x"].as_u64().unwrap(), place["y"].as_u64().unwrap())));
        for target in panel["targets"].as_array().unwrap() {
            shown.extend(assert_expression(target["expr"].as_str().unwrap()));
        }
    }
    let all: BTreeSet<_> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(shown, all);
}

/// Parentheses are closed, and every metric in it exists and has the labels that it is asked for.
fn assert_expression(expression: &str) -> BTreeSet<&'static str> {
    let count = |c| expression.matches(c).count();
    assert_eq!(count('('), count(')'), "{expression}");
    assert_eq!(count('{'), count('}'), "{expression}");
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let mut named = BTreeSet::new();
    for word in words.filter(|word| word.starts_with("keywheel_")) {
        let found = METRICS.iter().find(|metric| match metric.kind {
            MetricKind::Histogram => word.strip_suffix("_bucket") == Some(metric.name),
            _ => word == metric.name,
        });
        let metric = found.unwrap_or_else(|| panic!("{word} is no metric: {expression}"));
        named.insert(metric.name);
    }
    assert!(!named.is_empty(), "{expression}");
    let known: BTreeSet<_> = METRICS
        .iter()
        .filter(|metric| named.contains(metric.name))
        .flat_map(|metric| metric.labels.iter().copied().chain(["le", "instance"]))
        .collect();
    for by in expression.split("by (").skip(1) {
        for label in by.split(')').next().unwrap().split(", ") {
            assert!(known.contains(label), "{label}: {expression}");
        }
    }
    named
}
