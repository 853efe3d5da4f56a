//! What the tests need beside a Rust toolchain and a C compiler.

use std::process::{Command, Stdio};

/// How a thing is seen to be there, and Debian's packages for it.
const NEEDED: [(&str, &str); 8] = [
    ("command -v curl", "curl"),
    ("command -v gcore", "gdb"),
    ("command -v npm", "nodejs npm"),
    ("command -v openssl", "openssl"),
    (
        "command -v pgbouncer || test -x /usr/sbin/pgbouncer",
        "pgbouncer",
    ),
    (
        "command -v initdb || ls /usr/lib/postgresql/*/bin/initdb",
        "postgresql",
    ),
    ("pkg-config --exists openssl", "libssl-dev pkg-config"),
    (
        "python3 -m venv --help && python3 -m ensurepip --version",
        "python3-venv",
    ),
];

/// Installs what is missing where Debian's packages are at hand, and else says what to install.
pub(crate) fn install() -> bool {
    let missing = missing();
    if missing.is_empty() {
        return true;
    }
    let packages = missing.join(" ");
    eprintln!("installing {packages}");
    let root = "test \"$(id -u)\" = 0 || set -- sudo -n \"$@\"; \"$@\"";
    let apt = format!(
        "export DEBIAN_FRONTEND=noninteractive; as_root() {{ {root}; }}; \
         as_root apt-get -qq update; as_root apt-get -qq -y --no-install-recommends install {packages} >&2"
    );
    let installed = shell(&apt).status().is_ok_and(|status| status.success());
    if !installed {
        eprintln!("what the tests need is missing; install it: apt-get install {packages}");
    }
    installed
}

fn missing() -> Vec<&'static str> {
    let is_missing = |probe: &str| {
        let status = shell(probe)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        !status.is_ok_and(|status| status.success())
    };
    NEEDED
        .into_iter()
        .filter_map(|(probe, packages)| is_missing(probe).then_some(packages))
        .collect()
}

fn shell(words: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", words]);
    command
}
