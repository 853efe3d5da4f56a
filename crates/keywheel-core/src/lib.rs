//! The ground that the keywheel crates stand on.
//!
//! * [`Secret`] holds what must never be printed, and [`ClientSecret`] is one that was checked for what
//!   people paste by mistake. Identifiers ([`TenantId`], [`ClientId`], [`KeyId`], …) are types, because
//!   confusing two GUIDs is *the* mistake with Microsoft Graph.
//! * [`Cloud`] keeps the addresses that must change together: authority, Graph, scope, audience.
//! * The seams that other services implement or replace: [`Clock`], [`Entropy`], [`HttpSend`] and
//!   [`TokenCredential`]. Each states its contract: what it may do twice, what `Err` leaves behind,
//!   what happens when its future is dropped.
//! * [`RetryPolicy`] and [`retry_after`]: how long to wait, as values. [`answered_at`]: what time it is elsewhere.
//!
//! Nothing here knows of Graph objects or of rotations.
//!
//! | feature | default | what it adds |
//! |---|---|---|
//! | `reqwest` | yes | [`ReqwestSend`], the one adapter that opens connections |
//! | `test-util` | no | `MockHttpSend`, `MockTokenCredential` (mockall) |

mod client_secret;
mod clock;
mod cloud;
mod credential;
mod entropy;
mod http;
mod id;
mod report;
mod request_id;
mod retry;
mod secret;

pub use self::client_secret::{ClientSecret, InvalidClientSecret};
pub use self::clock::{Clock, ManualClock, SystemClock};
pub use self::cloud::{Cloud, InvalidCloud};
#[cfg(feature = "test-util")]
pub use self::credential::MockTokenCredential;
pub use self::credential::{
    AccessToken, CredentialError, CredentialErrorKind, EntraRefusal, InvalidScope, Scope,
    TokenCredential, TokenRequest,
};
pub use self::entropy::{Entropy, SystemEntropy};
#[cfg(feature = "test-util")]
pub use self::http::MockHttpSend;
#[cfg(feature = "reqwest")]
pub use self::http::{BuildError, ReqwestSend, ReqwestSendBuilder};
pub use self::http::{FreshConnection, HttpSend, TransportError, TransportErrorKind};
pub use self::id::{
    ApplicationObjectId, ClientId, InvalidId, KeyId, ServicePrincipalObjectId, TenantId,
};
pub use self::report::Report;
pub use self::request_id::RequestIds;
pub use self::retry::{RetryPolicy, answered_at, retry_after};
pub use self::secret::Secret;
