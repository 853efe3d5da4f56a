//! What a token costs: from memory, from the network, and the signature before it.
//!
//! `cargo bench -p benches --bench credentials` races keywheel with `azure_identity`, with plain reqwest and
//! with aws-lc-rs, in turns and in one process, and checks the bounds that the crate is built to. It ends with
//! an error when one was missed.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

mod cached;
mod cold;
mod signing;
mod stand_in;

use benches::Bounds;

fn main() {
    let mut bounds = Bounds::default();
    cached::check(&mut bounds);
    signing::check(&mut bounds);
    cold::check(&mut bounds);
    bounds.finish();
}
