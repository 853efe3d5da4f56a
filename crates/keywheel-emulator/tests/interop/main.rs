//! Other people's clients, unmodified, over https with a private CA.
//!
//! They are ignored by default because the first run installs them: minutes for Rust, seconds for Python and Node.
//! `cargo xtask test` runs them, those for Node with `--full`; by hand it is
//! `cargo test -p keywheel-emulator --test interop -- --ignored`.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

use std::path::{Path, PathBuf};
use std::process::Output;

use keywheel_emulator::Emulator;
use tokio::process::Command;

/// An emulator, and a folder with what clients read from files.
struct Stage {
    emulator: Emulator,
    folder: tempfile::TempDir,
}

impl Stage {
    async fn set() -> Self {
        let stage = Self {
            emulator: Emulator::start().await.unwrap(),
            folder: tempfile::tempdir().unwrap(),
        };
        let app = stage.emulator.default_app();
        let (certificate, key) = (
            app.certificate_pem().unwrap(),
            app.private_key_pem().unwrap(),
        );
        std::fs::write(stage.file("ca.pem"), stage.emulator.ca_pem()).unwrap();
        std::fs::write(
            stage.file("client.pem"),
            format!("{certificate}{}", key.expose()),
        )
        .unwrap();
        stage
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a client in the environment that the emulator's `env.sh` describes.
    async fn run(&self, program: &Path, arguments: &[&Path]) -> String {
        let app = self.emulator.default_app();
        let output = Command::new(program)
            .args(arguments)
            .env("AZURE_TENANT_ID", app.tenant_id())
            .env("AZURE_CLIENT_ID", app.client_id())
            .env("AZURE_CLIENT_SECRET", app.secret().expose())
            .env("AZURE_CLIENT_CERTIFICATE_PATH", self.file("client.pem"))
            .env("AZURE_AUTHORITY_HOST", self.emulator.authority())
            .env("KEYWHEEL_GRAPH_ENDPOINT", self.emulator.graph())
            .env("SSL_CERT_FILE", self.file("ca.pem"))
            .env("REQUESTS_CA_BUNDLE", self.file("ca.pem"))
            .env("NODE_EXTRA_CA_CERTS", self.file("ca.pem"))
            .env("NO_PROXY", "localhost")
            .output()
            .await;
        succeeded(output, "run it by hand to see why")
    }
}

fn succeeded(output: std::io::Result<Output>, remedy: &str) -> String {
    let output = output.unwrap_or_else(|error| panic!("{error}: {remedy}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{remedy}\n{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

#[tokio::test]
#[ignore = "installs MSAL and azure-identity for Python into a virtual environment"]
async fn msal_and_azure_identity_for_python_sign_in() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/python");
    let python = environment(&source.join("requirements.txt")).await;
    let stage = Stage::set().await;

    let output = stage.run(&python, &[&source.join("clients.py")]).await;

    assert_eq!(passed(&output), 8, "{output}");
}

fn passed(output: &str) -> usize {
    output.lines().filter(|line| line.ends_with(" ok")).count()
}

#[tokio::test]
#[ignore = "installs MSAL, @azure/identity and others for Node"]
async fn msal_and_azure_identity_for_node_sign_in() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/node");
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulator-node");
    std::fs::create_dir_all(&folder).unwrap();
    let lock = "package-lock.json";
    let same =
        |it: &str| std::fs::read(source.join(it)).ok() == std::fs::read(folder.join(it)).ok();
    let installed = same(lock) && folder.join("installed").exists();
    for name in ["package.json", lock, "clients.mjs"] {
        std::fs::copy(source.join(name), folder.join(name)).unwrap();
    }
    if !installed {
        let npm = Command::new("npm")
            .args(["ci", "--silent", "--no-audit", "--no-fund"])
            .current_dir(&folder)
            .output()
            .await;
        succeeded(
            npm,
            "Node 20 with npm must reach a package registry: apt-get install nodejs npm",
        );
        std::fs::write(folder.join("installed"), "").unwrap();
    }
    let stage = Stage::set().await;

    let output = stage
        .run(Path::new("node"), &[&folder.join("clients.mjs")])
        .await;

    assert_eq!(passed(&output), 11, "{output}");
}

/// Makes the virtual environment, or takes the one that an earlier run made for the same requirements.
async fn environment(requirements: &Path) -> PathBuf {
    let wanted = std::fs::read_to_string(requirements).unwrap();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("emulator-python");
    let (python, installed) = (folder.join("bin/python"), folder.join("installed.txt"));
    if std::fs::read_to_string(&installed).is_ok_and(|it| it == wanted) {
        return python;
    }
    let venv = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder)
        .output()
        .await;
    succeeded(
        venv,
        "Python 3 with venv is needed: apt-get install python3-venv",
    );
    let pip = Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--requirement"])
        .arg(requirements)
        .output()
        .await;
    succeeded(
        pip,
        "pip must reach a package index: set PIP_INDEX_URL when PyPI is out of reach",
    );
    std::fs::write(installed, wanted).unwrap();
    python
}

#[tokio::test]
#[ignore = "builds azure_identity with OpenSSL, which takes minutes the first time"]
async fn azure_identity_for_rust_signs_in() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("interop/azure-identity");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("azure-identity");
    let build = Command::new(env!("CARGO"))
        .args(["build", "--locked", "--quiet", "--manifest-path"])
        .arg(source.join("Cargo.toml"))
        .env("CARGO_TARGET_DIR", &target)
        .output()
        .await;
    succeeded(
        build,
        "OpenSSL's headers are needed: apt-get install libssl-dev pkg-config",
    );
    let stage = Stage::set().await;

    let output = stage
        .run(&target.join("debug/interop-azure-identity"), &[])
        .await;

    for expected in [
        "secret: a token",
        "certificate: a token",
        "wrong secret: AADSTS7000215",
    ] {
        assert!(output.contains(expected), "{output}");
    }
}
