//! Prometheus itself reads the alert rules, and what the dashboard asks it; Grafana's own types read the dashboard.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::step::root;

/// Lets `promtool`, of the path or of Debian's package, check them.
pub(crate) fn check() -> bool {
    let Some(promtool) = installed().or_else(install) else {
        eprintln!("promtool could not be installed: apt-get install prometheus");
        return false;
    };
    let folder = root().join("crates/keywheel-rotation/monitoring");
    let asked = root().join("target/dashboard.yaml");
    let Ok(dashboard) = fs::read_to_string(folder.join("dashboard.json")) else {
        return false;
    };
    if fs::write(&asked, questions(&dashboard)).is_err() {
        return false;
    }
    Command::new(promtool)
        .args(["check", "rules"])
        .args([folder.join("alerts.yaml"), asked])
        .status()
        .is_ok_and(|status| status.success())
}

/// Lets Grafana's types read the dashboard.
pub(crate) fn check_dashboard() -> bool {
    let venv = root().join("target/tools/grafana");
    let python = venv.join("bin/python");
    let read = || {
        let mut python = Command::new(&python);
        python.arg(root().join("crates/xtask/src/monitoring/dashboard.py"));
        python.arg(root().join("crates/keywheel-rotation/monitoring/dashboard.json"));
        python.status().is_ok_and(|status| status.success())
    };
    let has_types = || {
        let mut python = Command::new(&python);
        let import = python.args(["-c", "import grafana_foundation_sdk"]);
        let quiet = import.stderr(Stdio::null()).status();
        quiet.is_ok_and(|status| status.success())
    };
    if !has_types() {
        let venv = venv.display();
        let make = format!(
            "python3 -m venv --clear '{venv}' && '{venv}/bin/pip' install --quiet '{TYPES}'"
        );
        drop(Command::new("sh").args(["-c", &make]).status());
    }
    read()
}

const TYPES: &str = "grafana-foundation-sdk==1769699998!10.1.0";

/// Makes a recording rule of each expression: those can be checked.
fn questions(dashboard: &str) -> String {
    let lines = dashboard.lines().map(str::trim);
    // A line of JSON is one of YAML, but for the comma.
    let asked =
        lines.filter_map(|line| Some(line.strip_prefix("\"expr\": ")?.trim_end_matches(',')));
    let rule = |(n, expression): (usize, &str)| {
        format!("      - record: question{n}\n        expr: {expression}\n")
    };
    let rules: String = asked.enumerate().map(rule).collect();
    format!("groups:\n  - name: dashboard\n    rules:\n{rules}")
}

fn own() -> PathBuf {
    root().join("target/tools/prometheus/usr/bin/promtool")
}

fn installed() -> Option<PathBuf> {
    [own(), PathBuf::from("promtool")]
        .into_iter()
        .find(|promtool| {
            let mut version = Command::new(promtool);
            let quiet = version.arg("--version").stdout(Stdio::null());
            quiet.stderr(Stdio::null()).status().is_ok()
        })
}

/// Unpacks Debian's package: installing it would start a server.
fn install() -> Option<PathBuf> {
    let folder = root().join("target/tools/prometheus");
    fs::create_dir_all(&folder).ok()?;
    let unpack = "apt-get download prometheus >&2 && dpkg -x prometheus_*.deb .";
    let mut shell = Command::new("sh");
    let status = shell.args(["-c", unpack]).current_dir(folder).status();
    status.is_ok_and(|status| status.success()).then(own)
}
