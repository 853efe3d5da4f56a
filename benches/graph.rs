//! The typed Graph client beside plain reqwest and serde_json, over one loopback server.
//!
//! `cargo bench -p benches --bench graph` checks what a listing allocates and holds, and then races the
//! contestants for `addPassword` with `removePassword` and for a list of a hundred pages. The peer does the
//! least that works: it builds each address and body, adds the token, checks the status and decodes into the
//! same types. It has no retries, no limits, no request ids. It ends with an error when a bound was missed.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on panics")]

#[path = "graph/memory.rs"]
mod memory;
#[path = "graph/peer.rs"]
mod peer;
#[path = "graph/server.rs"]
mod server;
#[path = "graph/typed.rs"]
mod typed;

use benches::{Bounds, Race};

fn main() {
    let mut bounds = Bounds::default();
    memory::check(&mut bounds);

    let server = server::Server::start();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (typed, peer) = (typed::graph(&server), peer::Peer::new(&server));
    let passwords = Race::new("addPassword and removePassword", 1)
        .with("plain reqwest", || runtime.block_on(peer.passwords()))
        .with("keywheel", || runtime.block_on(typed::passwords(&typed)));
    check(&mut bounds, passwords);
    let listing = Race::new("a list of 100 pages", 1)
        .with("plain reqwest", || runtime.block_on(peer.listing()))
        .with("keywheel", || runtime.block_on(typed::listing(&typed)));
    check(&mut bounds, listing);
    bounds.finish();
}

fn check(bounds: &mut Bounds, mut race: Race<'_>) {
    let times = race.run();
    times.at_least(bounds, "keywheel", 0.95, "plain reqwest");
}
