//! keywheel connections bound to Microsoft Entra.
//!
//! * [`EntraIssuer`] is the [`CredentialIssuer`](keywheel_connection::CredentialIssuer) over Microsoft
//!   Graph: it proves, mints and removes client secrets.
//! * [`Enrolment`] stores connections by certificate and by authorization code.
//! * [`CertificateRoll`] replaces the certificate of a connection, the old one last.
//! * [`ConnectionCredential`] gives tokens of a stored connection, and follows its rotation.
//! * [`TenantAccess`] looks at a connection of any method without changing anything:
//!   [`preflight`](TenantAccess::preflight) says what it may do, what is missing and what is too much,
//!   [`validate`](TenantAccess::validate) whether it works at all, and
//!   [`expiries`](TenantAccess::expiries) which credentials of the tenant end when.

mod access;
mod application;
mod certificate_file;
mod certificate_roll;
mod credential;
mod enrolment;
mod expiry;
mod issuer;
mod parts;
mod preflight;
mod refusal;
mod session;
mod token;
mod validation;

pub use self::access::TenantAccess;
pub use self::application::SignInApplication;
pub use self::certificate_file::CertificateFile;
pub use self::certificate_roll::{CertificateRoll, RollError, RollErrorKind, RollPolicy, Rolled};
pub use self::credential::ConnectionCredential;
pub use self::enrolment::{Enrolment, Target};
pub use self::expiry::{
    CredentialKind, Expiry, ExpiryEvent, ExpiryPage, ExpiryWatch, Holder, THRESHOLDS,
};
pub use self::issuer::EntraIssuer;
pub use self::parts::EntraParts;
pub use self::preflight::{
    Finding, Fix, Need, Preflight, Purpose, ReferenceCheck, Removable, Standing, Table,
};
pub use self::validation::{Method, Read, Validated, ValidationError, ValidationErrorKind};
