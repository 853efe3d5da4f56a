//! What a connection may do, what is missing, and what is too much.
//!
//! ```console
//! $ cargo run --example preflight
//! $ AZURE_TENANT_ID=… AZURE_CLIENT_ID=… AZURE_CLIENT_SECRET=… cargo run --example preflight -- --for own
//! ```
//!
//! It changes nothing. Without any `AZURE_*` variable it looks at an emulated tenant, in which the step that
//! is most often forgotten is missing, takes that step, and looks again. Exit status: 0 nothing is known to
//! be missing · 3 something is missing · 1 failed.

#[path = "../tenant.rs"]
mod tenant;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use keywheel::core::Report;
use keywheel::entra::{Preflight, Purpose};
use keywheel_emulator::{ApplicationSeed, Seed, TenantSeed};
use tenant::{Result, Tenant};

/// Says what a connection may do, what is missing, and what is too much.
#[derive(Debug, Parser)]
struct Flags {
    /// What the connection is for; may be given several times.
    #[arg(long = "for", value_enum, default_value = "own")]
    purposes: Vec<For>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Look at an emulated tenant, whatever the environment says.
    #[arg(long)]
    emulator: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum For {
    /// To roll its own certificates.
    Certificates,
    /// To list all applications.
    List,
    /// To rotate the secrets of other applications.
    Others,
    /// To rotate its own secret.
    Own,
}

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Flags::parse()).await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(3),
        Err(error) => {
            eprintln!("failed: {}", Report(&*error));
            ExitCode::FAILURE
        }
    }
}

async fn run(flags: &Flags) -> Result<bool> {
    let tenant = Tenant::open(flags.emulator, seed()).await?;
    let purposes: Vec<Purpose> = flags.purposes.iter().map(|it| it.purpose()).collect();
    let preflight = tenant.access.preflight(&purposes).await?;
    show(&preflight, flags)?;
    let Some(emulator) = &tenant.emulator else {
        return Ok(preflight.passes());
    };
    let app = emulator.default_app();
    eprintln!("\n… az ad app owner add …\n");
    emulator.add_owner(app.client_id(), app.client_id())?;
    let again = tenant.access.preflight(&purposes).await?;
    show(&again, flags)?;
    Ok(again.passes())
}

fn show(preflight: &Preflight, flags: &Flags) -> Result<()> {
    if flags.json {
        println!("{}", serde_json::to_string_pretty(preflight)?);
    } else {
        println!("{}", preflight.table());
    }
    Ok(())
}

impl For {
    fn purpose(self) -> Purpose {
        match self {
            Self::Certificates => Purpose::RollCertificates,
            Self::List => Purpose::ListApplications,
            Self::Others => Purpose::RotateOthersSecrets,
            Self::Own => Purpose::RotateOwnSecret,
        }
    }
}

/// The right permission, and not the ownership that it asks for.
fn seed() -> Seed {
    let application = ApplicationSeed::new("billing-service")
        .role("Application.ReadWrite.OwnedBy")
        .role("Directory.ReadWrite.All")
        .secret("initial");
    Seed::of([TenantSeed::new("contoso.example").application(application)])
}
