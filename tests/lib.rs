//! What the tests of several crates share: a directory in memory that can be stopped, lied about and
//! looked into, and the rig that drives rotations against it.

#![allow(
    clippy::exhaustive_enums,
    clippy::exhaustive_structs,
    clippy::must_use_candidate,
    reason = "not published"
)]

mod directory;
mod effects;
mod invariants;
mod rig;
mod shelf;
pub mod simulation;
mod store;

pub use self::directory::{Directory, Foreign, Lag};
pub use self::effects::{Effects, Fate, Stopped};
pub use self::invariants::Watch;
pub use self::rig::{FIRST, Rig, SETTINGS_ZONE, other, ours, secret, settings};
pub use self::shelf::Shelf;
pub use self::store::WatchedStore;

/// The README's sample compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
