//! Which client secrets and certificates of a tenant end when, the most urgent first.
//!
//! ```console
//! $ cargo run --example expiring_credentials
//! $ AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_SECRET=… cargo run --example expiring_credentials -- --within 60
//! ```
//!
//! It changes nothing, and reads page by page, however many applications there are. Without any `AZURE_*`
//! variable it looks at an emulated tenant.

#[path = "../tenant.rs"]
mod tenant;

use std::io::{IsTerminal, Write};
use std::pin::pin;
use std::process::ExitCode;

use chrono::{TimeDelta, Utc};
use clap::Parser;
use futures_util::TryStreamExt;
use keywheel::core::{Clock, Report, SystemClock};
use keywheel::entra::{Expiry, ExpiryPage, ExpiryWatch};
use keywheel_emulator::{ApplicationSeed, SecretSeed, Seed, TenantSeed, UserSeed};
use tenant::{Result, Tenant};

/// Lists the credentials of all applications that may be read, the most urgent first.
#[derive(Debug, Parser)]
struct Flags {
    /// Only those that end within so many days, or have ended.
    #[arg(long)]
    within: Option<u16>,
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
    /// Look at an emulated tenant, whatever the environment says.
    #[arg(long)]
    emulator: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("failed: {}", Report(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<()> {
    let tenant = Tenant::open(flags.emulator, seed()).await?;
    let mut watch = ExpiryWatch::new().with_owners();
    if let Some(days) = flags.within {
        watch = watch.within(TimeDelta::days(days.into()));
    }
    let mut found = read(&tenant, &watch).await?;
    found.sort_by_key(|expiry| (expiry.ends.is_none(), expiry.ends));
    for expiry in &found {
        if flags.json {
            println!("{}", serde_json::to_string(expiry)?);
        }
    }
    if !flags.json {
        table(&found);
        let emulated = tenant.emulator.is_some();
        let place = if emulated {
            "an emulated tenant"
        } else {
            "the tenant"
        };
        println!("\n{} credentials in {place}", found.len());
    }
    Ok(())
}

async fn read(tenant: &Tenant, watch: &ExpiryWatch) -> Result<Vec<Expiry>> {
    let mut pages = pin!(tenant.access.expiry_pages(watch));
    let (mut found, mut bar) = (Vec::new(), Bar::default());
    while let Some(page) = pages.try_next().await? {
        bar.advance(&page);
        found.extend(page.expiries);
    }
    bar.clear();
    Ok(found)
}

/// How far it is, on standard error, and only for a person who looks.
#[derive(Debug, Default)]
struct Bar {
    read: u64,
    total: Option<u64>,
}

impl Bar {
    fn advance(&mut self, page: &ExpiryPage) {
        self.read += page.applications as u64;
        // Only the first page tells.
        self.total = self.total.or(page.total);
        let text = match self.total.filter(|total| *total > 0) {
            Some(total) => {
                let done = usize::try_from(self.read.min(total) * 30 / total).unwrap_or(30);
                let (full, rest) = ("#".repeat(done), ".".repeat(30 - done));
                format!("[{full}{rest}] {} of {total} applications", self.read)
            }
            None => format!("{} applications", self.read),
        };
        Self::draw(&text);
    }

    fn clear(&self) {
        Self::draw("");
    }

    fn draw(text: &str) {
        let mut out = std::io::stderr();
        if out.is_terminal() {
            // A bar that can't be drawn is no reason to stop.
            let _ = write!(out, "\r\x1b[K{text}").and_then(|()| out.flush());
        }
    }
}

fn table(found: &[Expiry]) {
    println!(
        "{:>6}  {:<10}  {:<13}  {:<7}  {:<22}  {:<22}  OWNERS",
        "DAYS", "ENDS", "KIND", "HOLDER", "APPLICATION", "CREDENTIAL"
    );
    for expiry in found {
        let days = expiry
            .days_left
            .map_or_else(|| "?".to_owned(), |days| days.to_string());
        let ends = expiry
            .ends
            .map_or_else(|| "?".to_owned(), |end| end.format("%F").to_string());
        let owners = expiry
            .owners
            .as_ref()
            .map_or_else(|| "?".to_owned(), |all| all.join(", "));
        println!(
            "{days:>6}  {ends:<10}  {:<13}  {:<7}  {:<22}  {:<22}  {}",
            expiry.kind,
            expiry.holder,
            plain(expiry.application_name.as_deref()),
            plain(expiry.name.as_deref()),
            plain(Some(&owners)),
        );
    }
}

/// Names come from the directory: whoever sets them must not steer the terminal.
fn plain(text: Option<&str>) -> String {
    let text = text.unwrap_or("-");
    text.chars().filter(|c| !c.is_control()).collect()
}

/// A tenant in which some things have been forgotten.
fn seed() -> Seed {
    let now = SystemClock::new().now();
    let mut tenant = TenantSeed::new("contoso.example")
        .user(UserSeed::new("ada@contoso.example", "ada's password"))
        .application(
            ApplicationSeed::new("expiry-watch")
                .role("Application.Read.All")
                .secret("own"),
        );
    for (name, days, owner) in [
        ("billing", 2, Some("ada@contoso.example")),
        ("crm", 25, None),
        ("backup", -10, None),
        ("intranet", 200, Some("ada@contoso.example")),
    ] {
        let mut application = ApplicationSeed::new(name).with_secret(secret(name, now, days));
        application.owners = owner.map(ToOwned::to_owned).into_iter().collect();
        tenant = tenant.application(application);
    }
    Seed::of([tenant])
}

fn secret(name: &str, now: chrono::DateTime<Utc>, days: i64) -> SecretSeed {
    let mut secret = SecretSeed::default()
        .starting(now - TimeDelta::days(300))
        .ending(now + TimeDelta::days(days));
    secret.display_name = Some(format!("{name} production"));
    secret
}
