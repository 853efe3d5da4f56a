use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, Utc};
use keywheel_emulator::{Builder, Clock, Emulator, SecretText, Seed, Snapshot};

use crate::Failure;
use crate::files::Files;

/// A local Microsoft Entra ID and Microsoft Graph (applications), for tests and trials.
///
/// Writes ca.pem, client.pem and env.sh into a folder, prints one line on standard output when it is ready,
/// and stops on SIGINT or SIGTERM.
#[derive(Debug, clap::Parser)]
#[command(version, about)]
pub(crate) struct Options {
    /// Port to listen on; 0 takes a free one.
    #[arg(long, default_value_t = 8443)]
    port: u16,
    /// Serve Graph on a port of its own; 0 takes a free one.
    #[arg(long)]
    graph_port: Option<u16>,
    /// Address to listen on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    bind: IpAddr,
    /// Further host name for the certificate; the first one is used in addresses.
    #[arg(long)]
    host: Vec<String>,
    /// Folder for ca.pem, client.pem, env.sh and the keys, which are used again at the next start.
    #[arg(long, default_value = "keywheel-emulator")]
    pub(crate) dir: PathBuf,
    /// TOML file that says what the directory holds.
    #[arg(long)]
    seed: Option<PathBuf>,
    /// File to go on from, when it is there, and to write at the end.
    #[arg(long)]
    pub(crate) state: Option<PathBuf>,
    /// Time at which the clock starts, such as 2026-03-28T12:00:00Z.
    #[arg(long)]
    clock: Option<DateTime<Utc>>,
    /// Keep the clock where it is until it is moved.
    #[arg(long)]
    stopped_clock: bool,
    /// Serve with this certificate chain (PEM, leaf first).
    #[arg(long, requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// Private key of --tls-cert (PEM).
    #[arg(long, requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Serve HTTP without TLS, on loopback addresses only. Real clients refuse it.
    #[arg(long)]
    plain_http: bool,
    /// Write each request to standard error, as one line of JSON without secrets.
    #[arg(long)]
    pub(crate) log: bool,
}

impl Options {
    pub(crate) fn builder(&self, files: &Files) -> Result<Builder, Failure> {
        let mut builder = Emulator::builder()
            .port(self.port)
            .bind(self.bind)
            .clock(self.clock())
            .read_timeout(Duration::from_secs(30));
        for host in &self.host {
            builder = builder.host(host);
        }
        if let Some(port) = self.graph_port {
            builder = builder.graph_port(port);
        }
        if let Some(path) = &self.seed {
            builder = builder.seed(Seed::from_toml(&read(path)?)?);
        }
        if let Some(material) = files.key_material()? {
            builder = builder.key_material(material);
        }
        if let (Some(chain), Some(key)) = (&self.tls_cert, &self.tls_key) {
            builder = builder.certificate(read(chain)?, SecretText::new(read(key)?));
        }
        if self.plain_http {
            builder = builder.plain_http();
        }
        if let Some(state) = self.state.as_ref().filter(|path| path.exists()) {
            builder = builder.restore(Snapshot::from_json(&read(state)?)?);
        }
        Ok(builder)
    }

    fn clock(&self) -> Clock {
        let clock = self.clock.map_or_else(Clock::system, Clock::running_from);
        if self.stopped_clock {
            clock.stop();
        }
        clock
    }
}

pub(crate) fn read(path: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()).into())
}
