//! keywheel connections bound to Microsoft Entra.
//!
//! * [`EntraIssuer`] is the [`CredentialIssuer`](keywheel_connection::CredentialIssuer) over Microsoft
//!   Graph: it proves, mints and removes client secrets.
//! * [`Enrolment`] stores connections by certificate and by authorization code.
//! * [`ConnectionCredential`] gives tokens of a stored connection, and follows its rotation.
//! * [`Preflight`] says what a connection may do, and what is missing.

mod application;
mod certificate_file;
mod credential;
mod enrolment;
mod issuer;
mod parts;
mod preflight;
mod refusal;
mod session;

pub use self::application::SignInApplication;
pub use self::certificate_file::CertificateFile;
pub use self::credential::ConnectionCredential;
pub use self::enrolment::{Enrolment, Target};
pub use self::issuer::EntraIssuer;
pub use self::parts::EntraParts;
pub use self::preflight::{Finding, Need, Preflight};
