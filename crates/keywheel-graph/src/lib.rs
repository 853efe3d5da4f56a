//! The Microsoft Graph calls that credential rotation needs.
//!
//! [`GraphClient`] sends requests over the [`HttpSend`](keywheel_core::HttpSend) seam with tokens of a
//! [`TokenCredential`](keywheel_core::TokenCredential), and knows when a request may be sent again:
//! that is a property of the call. `addPassword` is not idempotent, and is sent again only when it
//! certainly never left; [`GraphError::may_have_effect`] tells the rest.
//!
//! Types are named as Graph names them. Unknown members are ignored, `null` is accepted where the schema
//! allows it.

mod application;
mod client;
mod error;
mod password;

pub use self::application::{Application, ApplicationClient, ApplicationKey};
pub use self::client::GraphClient;
pub use self::error::{GraphError, GraphErrorKind};
pub use self::password::{NewPassword, PasswordCredential};
