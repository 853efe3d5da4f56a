//! Is the emulator ever what a test waits for? Starts, Graph calls and token requests, beside what they cannot do without.
//!
//! `cargo bench -p benches --bench emulator` counts what one core answers in a second over one kept connection with TLS:
//! requests divided by the time that the server's thread spent on a processor, so that other work on the machine does not
//! count. The floors are a hyper server that answers the same bytes without looking at the question, and the one RSA
//! signature that each token needs. Contestants run in turns; the median round counts. It ends with an error when a bound
//! was missed.
#![allow(clippy::unwrap_used, reason = "a bench that cannot go on panics")]
#![allow(clippy::disallowed_methods, reason = "to measure is to read the clock")]

#[path = "emulator/client.rs"]
mod client;
#[path = "emulator/core.rs"]
mod core;
#[path = "emulator/floor.rs"]
mod floor;

use std::time::{Duration, Instant};

use benches::{Bounds, is_measuring};

use self::client::Connection;
use self::core::{Core, busy, this_thread};

fn main() {
    let mut bounds = Bounds::default();
    // First, because the process has no keys yet.
    starts(&mut bounds);
    rates(&mut bounds);
    bounds.finish();
}

/// From the call to the first answer, handshake included.
fn starts(bounds: &mut Bounds) {
    let time = || {
        let start = Instant::now();
        let core = Core::emulator();
        Connection::to(&core).get("/_emulator/health", "");
        start.elapsed()
    };
    let first = time();
    let mut later: Vec<Duration> = (0..rounds(25)).map(|_| time()).collect();
    later.sort();
    let median = later[later.len() / 2];
    println!("start to first answer: {first:.1?} the first time (two RSA keys are made), then {median:.1?}");
    let claim = "an emulator answers within 100 ms of its start, once the process has its keys";
    let slowest = later[later.len() - 1];
    bounds.check(claim, median < Duration::from_millis(100), format!("{median:.1?}, at most {slowest:.1?}"));
}

struct Contestant<'a> {
    name: &'static str,
    /// The thread that does the work.
    thread: String,
    work: Box<dyn FnMut() + 'a>,
    rates: Vec<f64>,
}

fn rates(bounds: &mut Bounds) {
    let emulator = Core::emulator();
    let mut connection = Connection::to(&emulator);
    let app = emulator.app();
    let form = app.token_request();
    let token = connection.token(&app.token_path(), &form);
    let own = format!("/v1.0/applications(appId='{}')", app.client_id);
    let selected = format!("{own}?$select=id,appId,passwordCredentials");
    let read = connection.get(&own, &token);

    let floor = Core::floor(read.len());
    let mut to_floor = Connection::to(&floor);
    let (mut reads, mut selects, mut writes) = (
        Connection::to(&emulator),
        Connection::to(&emulator),
        Connection::to(&emulator),
    );
    let signer = floor::Signer::new();

    let on = |core: &Core| core.thread.clone();
    let mut contestants = vec![
        contestant("floor: hyper, same bytes", on(&floor), || drop(to_floor.get("/", ""))),
        contestant("read an application", on(&emulator), || drop(reads.get(&own, &token))),
        contestant("read with $select", on(&emulator), || drop(selects.get(&selected, &token))),
        contestant("addPassword, removePassword", on(&emulator), || writes.mint_and_remove(&own, &token)),
        contestant("token by secret", on(&emulator), || drop(connection.token(&app.token_path(), &form))),
        contestant("floor: one RSA signature", this_thread(), || signer.sign()),
    ];
    for _ in 0..rounds(9) {
        for contestant in &mut contestants {
            contestant.run();
        }
    }

    println!("\nanswers of one core in a second, median round");
    for contestant in &mut contestants {
        contestant.rates.sort_by(f64::total_cmp);
        println!("  {:<28}{:>10.0}", contestant.name, contestant.median());
    }
    for place in 1..4 {
        let rate = contestants[place].median() * if place == 3 { 2.0 } else { 1.0 };
        let claim = format!("{}: 5,000 Graph requests in a second", contestants[place].name);
        bounds.check(claim, rate >= 5_000.0, format!("{rate:.0}"));
    }
    let share = contestants[4].median() / contestants[5].median();
    bounds.check("tokens at 0.8 times the rate of the RSA signature", share >= 0.8, format!("{share:.2}"));
}

fn contestant<'a>(name: &'static str, thread: String, work: impl FnMut() + 'a) -> Contestant<'a> {
    Contestant { name, thread, work: Box::new(work), rates: Vec::new() }
}

impl Contestant<'_> {
    /// Works for a while and notes how much of it a second on a processor would hold.
    fn run(&mut self) {
        let (start, before) = (Instant::now(), busy(&self.thread));
        let mut done = 0.0;
        while done < 1.0 || (is_measuring() && start.elapsed() < Duration::from_millis(400)) {
            (self.work)();
            done += 1.0;
        }
        let spent = busy(&self.thread).checked_sub(before).unwrap_or_default();
        self.rates.push(done / spent.as_secs_f64().max(1e-9));
    }

    fn median(&self) -> f64 {
        self.rates[self.rates.len() / 2]
    }
}

fn rounds(measuring: usize) -> usize {
    if is_measuring() { measuring } else { 1 }
}
