//! keywheel connections bound to Microsoft Entra.
//!
//! * [`EntraIssuer`] is the [`CredentialIssuer`](keywheel_connection::CredentialIssuer) over Microsoft
//!   Graph: it proves, mints and removes client secrets.
//! * [`ConnectionCredential`] gives tokens of a stored connection, and follows its rotation.
//! * [`Preflight`] says what a connection may do, and what is missing.

mod credential;
mod issuer;
mod preflight;
mod refusal;
mod session;

pub use self::credential::ConnectionCredential;
pub use self::issuer::EntraIssuer;
pub use self::preflight::{Finding, Need, Preflight};
