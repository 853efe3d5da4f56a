//! The simulation: months of rotations in half a millisecond, with everything going wrong that a seed
//! draws.
//!
//! It drives the real engine through its ports. Time is virtual; up to three processes with clocks of their
//! own share a store and a directory; calls are slow, lost, late, refused or carried out unheard; processes
//! die and are stopped; people ask for things and administrators interfere; the sealing key is lost for a
//! while, and the store restored from a backup. After every effect the invariants are checked against the
//! truth, which no process knows. When the faults end, everything must come to rest within a bounded time,
//! or say that it needs a person and truly need one; and with what a person can do, it must come to rest.
//! `FAULTS.md` of `keywheel-rotation` lists what is drawn.
//!
//! The same seed gives the same run, to the letter: `cargo xtask simulate --seed N` tells it as a story.

mod administrators;
mod backup;
mod campaign;
mod chance;
mod directory;
mod enrolment;
mod executor;
mod faults;
mod graces;
mod help;
mod issuer;
mod mutant;
mod nature;
mod people;
mod ports;
mod process;
mod promises;
mod record;
mod rest;
mod scenario;
mod store;
mod trace;
mod truth;
mod world;

pub use self::campaign::{Campaign, hunt};
pub use self::executor::{Outcome, Simulator};
pub use self::mutant::Mutant;
