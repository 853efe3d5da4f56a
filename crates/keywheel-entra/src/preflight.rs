mod finding;
mod fix;
mod judge;
mod permission;
mod reference;
mod sight;
mod table;

use keywheel_connection::{Access, IssuerError};
use keywheel_core::{ClientId, CredentialError, TenantId};
use serde::Serialize;

pub use self::finding::{Finding, Need, Purpose, Standing};
pub use self::fix::Fix;
pub(crate) use self::fix::upload_command;
use self::judge::Judge;
pub use self::reference::{ReferenceCheck, Removable};
pub use self::table::Table;
use crate::{EntraIssuer, TenantAccess, refusal};

/// What a connection needs for its purposes, and whether it has it.
///
/// It asks for little: to rotate its own secret, one application permission and one ownership. As a value,
/// as JSON (it is [`Serialize`]), and as a [table](Self::table) for a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Preflight {
    /// The tenant that was asked for.
    pub tenant: TenantId,
    /// The application.
    pub client: ClientId,
    /// The application's display name, if it could be read.
    pub application: Option<String>,
    /// Whether the tokens are a signed-in user's.
    pub signed_in_user: bool,
    /// What was found: needs first, then what is worth knowing, then what is too much.
    pub findings: Vec<Finding>,
    /// What can be taken away when all was granted that a well-known product's page asks for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<ReferenceCheck>,
}

impl Preflight {
    /// Tells whether nothing is known to be missing.
    #[must_use]
    pub fn passes(&self) -> bool {
        let missing = |finding: &Finding| finding.standing == Standing::Missing;
        !self.findings.iter().any(missing)
    }

    /// Returns the findings as a table for a terminal, with what to do below it.
    #[must_use]
    pub fn table(&self) -> Table<'_> {
        Table::new(self)
    }
}

impl TenantAccess {
    /// Looks at what the access may do, and changes nothing.
    ///
    /// It reads the token, if it is readable, the own application with its owners, the permissions granted
    /// to its service principal and the tenant's policy. What Graph does not let it read is unknown, and
    /// costs one request.
    ///
    /// # Errors
    ///
    /// Returns an error when no token can be obtained. What Graph refuses is a finding.
    pub async fn preflight(&self, purposes: &[Purpose]) -> Result<Preflight, CredentialError> {
        let sight = self.look(purposes).await?;
        Ok(Judge::new(self, &sight, purposes).findings())
    }
}

impl EntraIssuer {
    /// Looks at whether the connection may rotate its own secret, and changes nothing.
    ///
    /// # Errors
    ///
    /// Returns an error when no token can be obtained. What Graph refuses is a finding.
    pub async fn preflight(&self, access: &Access<'_>) -> Result<Preflight, IssuerError> {
        let looked = self.access(access)?;
        let preflight = looked.preflight(&[Purpose::RotateOwnSecret]).await;
        preflight.map_err(|error| refusal::credential(&error))
    }
}
