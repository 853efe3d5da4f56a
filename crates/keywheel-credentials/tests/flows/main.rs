//! Every flow over TLS, against an emulator of Entra that shares no code with this crate, and against
//! servers of others.
#![allow(clippy::unwrap_used, reason = "a failed test panics")]

mod application;
mod browser;
mod django;
mod foreign;
mod logs;
mod managed_identity;
mod oidc_provider;
mod rig;
mod user;
