//! The Microsoft Graph calls that credential rotation needs.
//!
//! [`GraphClient`] sends requests over the [`HttpSend`](keywheel_core::HttpSend) seam with tokens of a
//! [`TokenCredential`](keywheel_core::TokenCredential): applications, their password and key credentials,
//! owners and federated credentials, service principals and their assignments, the signed-in user, the
//! tenant, batches. Types are named as Graph names them. Unknown members are ignored, `null` is accepted
//! where the schema allows it, and dates with up to nine fraction digits.
//!
//! * **One retry policy.** When a call may be sent again is a property of the call. Reads, and writes that
//!   twice have the effect of once, are sent again while Graph is in trouble; calls that create something
//!   only when Graph said that nothing was done; `addPassword` and `removePassword` only when the request
//!   certainly never left. [`GraphError::may_have_effect`] tells what is in doubt. A token that Graph
//!   refuses is replaced once, with the claims that it asks for.
//! * **Below the limits.** [`Traffic`] counts resource units, heeds the `x-ms-throttle-*` headers and
//!   `Retry-After`, and lets writes to one application go one after the other.
//! * **Truth under lag.** A read proves presence and never absence:
//!   [`confirm_absent`](ApplicationClient::confirm_absent) reads until several answers in a row agree.
//! * **Errors that say what to do.** [`GraphErrorKind`] is what a caller does about it, [`Refusal`] names
//!   the refusals that are treated by themselves.
//!
//! Nothing here logs a body, a query, a header or a token. Logs are `tracing` events of the levels DEBUG and
//! TRACE: `graph.retry`, `graph.token_refused`, `graph.answer`, `graph.paced`, `graph.held`.

mod application;
mod batch;
mod call;
mod client;
mod confirm;
mod error;
mod federated;
mod key;
mod list;
mod object;
mod pages;
mod password;
mod policy;
mod service_principal;
mod tenant;
mod traffic;
mod wire;

pub use self::application::{
    Application, ApplicationClient, ApplicationKey, ApplicationUpdate, NewApplication,
    RequiredResourceAccess, ResourceAccess,
};
pub use self::batch::{Batch, BatchAnswer, BatchHandle};
pub use self::client::GraphClient;
pub use self::confirm::{ConfirmPolicy, Confirmation, Sighting, Sought, Verdict};
pub use self::error::{Detail, GraphError, GraphErrorKind, Refusal};
pub use self::federated::{FederatedIdentityCredential, NewFederatedIdentityCredential};
pub use self::key::{KeyCredential, NewKey};
pub use self::list::{Filter, ListOptions};
pub use self::object::DirectoryObject;
pub use self::pages::{Page, Pages};
pub use self::password::{NewPassword, PasswordCredential};
pub use self::policy::{AppManagementPolicy, CredentialRestriction, Restrictions};
pub use self::service_principal::{
    AppRoleAssignment, ServicePrincipal, ServicePrincipalClient, ServicePrincipalKey,
};
pub use self::tenant::{Organization, User, VerifiedDomain};
pub use self::traffic::{Traffic, TrafficLimits, TrafficUsage};
