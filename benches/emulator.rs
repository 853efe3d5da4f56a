//! Is the emulator ever what a test waits for? Starts, Graph calls and token requests, beside what they cannot do without.
//!
//! `cargo bench -p benches --bench emulator` counts what one core answers in a second over eight kept connections with
//! TLS: requests divided by the time that the server's thread spent on a processor, so that other work on the machine does
//! not count. The floors are a hyper server that answers the same bytes without looking at the question, and the one RSA
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

use self::client::{Clients, Connection, get, member, post};
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
        Connection::to(&core).ask(&get("/_emulator/health", ""));
        start.elapsed()
    };
    let first = time();
    let mut later: Vec<Duration> = (0..rounds(25)).map(|_| time()).collect();
    later.sort();
    let median = later[later.len() / 2];
    println!(
        "start to first answer: {first:.1?} the first time (two RSA keys are made), then {median:.1?}"
    );
    let claim = "an emulator answers within 100 ms of its start, once the process has its keys";
    let slowest = later[later.len() - 1];
    bounds.check(
        claim,
        median < Duration::from_millis(100),
        format!("{median:.1?}, at most {slowest:.1?}"),
    );
}

struct Contestant<'a> {
    name: &'static str,
    /// The thread that does the work.
    thread: String,
    /// How many requests each client sends in one go.
    requests: u32,
    work: Box<dyn FnMut() + 'a>,
    rates: Vec<f64>,
}

fn rates(bounds: &mut Bounds) {
    let emulator = Core::emulator();
    let app = emulator.app();
    let ask_token = post(
        &app.token_path(),
        "",
        "x-www-form-urlencoded",
        &app.token_request(),
    );
    let token = member(&Connection::to(&emulator).ask(&ask_token), "access_token").to_owned();
    let own = format!("/v1.0/applications(appId='{}')", app.client_id);
    let read = get(&own, &token);
    let select = get(
        &format!("{own}?$select=id,appId,passwordCredentials"),
        &token,
    );
    let add = post(&format!("{own}/addPassword"), &token, "json", "{}");
    let remove = |added: String| {
        let body = format!(r#"{{"keyId":"{}"}}"#, member(&added, "keyId"));
        post(&format!("{own}/removePassword"), &token, "json", &body)
    };

    let floor = Core::floor(Connection::to(&emulator).ask(&read).len());
    let mut to_floor = Clients::of(&floor);
    let mut clients: [Clients; 4] = std::array::from_fn(|_| Clients::of(&emulator));
    let [reads, selects, writes, tokens] = &mut clients;
    let signer = floor::Signer::new();
    let on = |core: &Core| core.thread.clone();
    let mut contestants = [
        contestant("floor: hyper, same bytes", on(&floor), 1, || {
            drop(to_floor.ask_all(&read))
        }),
        contestant("read an application", on(&emulator), 1, || {
            drop(reads.ask_all(&read))
        }),
        contestant("read with $select", on(&emulator), 1, || {
            drop(selects.ask_all(&select))
        }),
        contestant("addPassword, removePassword", on(&emulator), 2, || {
            let added = writes.ask_all(&add);
            writes.ask(added.into_iter().map(remove));
        }),
        contestant("token by secret", on(&emulator), 1, || {
            drop(tokens.ask_all(&ask_token))
        }),
        contestant("floor: one RSA signature", this_thread(), 1, || {
            (0..Clients::COUNT).for_each(|_| signer.sign())
        }),
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
    for contestant in &contestants[1..4] {
        let claim = format!("{}: 5,000 Graph requests in a second", contestant.name);
        let rate = contestant.median();
        bounds.check(claim, rate >= 5_000.0, format!("{rate:.0}"));
    }
    let share = contestants[4].median() / contestants[5].median();
    bounds.check(
        "tokens at 0.8 times the rate of the RSA signature",
        share >= 0.8,
        format!("{share:.2}"),
    );
}

fn contestant<'a>(
    name: &'static str,
    thread: String,
    requests: u32,
    work: impl FnMut() + 'a,
) -> Contestant<'a> {
    Contestant {
        name,
        thread,
        requests,
        work: Box::new(work),
        rates: Vec::new(),
    }
}

impl Contestant<'_> {
    /// Works for a while and notes how much of it a second on a processor would hold.
    fn run(&mut self) {
        let (start, before) = (Instant::now(), busy(&self.thread));
        let mut done = 0;
        while done == 0 || (is_measuring() && start.elapsed() < Duration::from_millis(400)) {
            (self.work)();
            done += self.requests * u32::try_from(Clients::COUNT).unwrap();
        }
        let spent = busy(&self.thread).checked_sub(before).unwrap_or_default();
        self.rates
            .push(f64::from(done) / spent.as_secs_f64().max(1e-9));
    }

    fn median(&self) -> f64 {
        self.rates[self.rates.len() / 2]
    }
}

fn rounds(measuring: usize) -> usize {
    if is_measuring() { measuring } else { 1 }
}
