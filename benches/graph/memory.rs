//! What a listing allocates for what it keeps, and what a very long one holds.

use std::fmt::Write as _;
use std::pin::pin;

use allocation_counter::{AllocationInfo, measure};
use async_trait::async_trait;
use benches::Bounds;
use bytes::Bytes;
use futures_util::TryStreamExt;
use http::{Request, Response};
use keywheel_core::{Cloud, HttpSend, TransportError};
use keywheel_entra::{ExpiryWatch, TenantAccess};
use keywheel_graph::{GraphClient, ListOptions};

use crate::server::application;
use crate::typed::{CLIENT, Held, unlimited};

/// What Graph gives at most on a page.
const PAGE: usize = 999;
/// The strings that are kept of each application in the page below.
const STRINGS: usize = 4;

/// Gives so many pages, each made anew, without a network.
#[derive(Clone, Debug)]
struct Pages {
    count: usize,
    value: String,
}

impl Pages {
    fn new(count: usize) -> Self {
        let all: Vec<String> = (0..PAGE).map(application).collect();
        Self {
            count,
            value: all.join(","),
        }
    }
}

#[async_trait]
impl HttpSend for Pages {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, TransportError> {
        let query = request.uri().query().unwrap_or_default();
        let number = query
            .split("skiptoken=")
            .nth(1)
            .and_then(|text| text.parse().ok());
        let next: usize = number.unwrap_or(0) + 1;
        let mut body = String::with_capacity(self.value.len() + 200);
        body.push('{');
        if next < self.count {
            let link = "https://graph.microsoft.com/v1.0/applications?$skiptoken=";
            write!(body, "\"@odata.nextLink\":\"{link}{next}\",").unwrap();
        }
        write!(body, "\"value\":[{}]}}", self.value).unwrap();
        Ok(Response::new(Bytes::from(body)))
    }
}

pub(crate) fn check(bounds: &mut Bounds) {
    println!("what a listing takes");
    let (one, two) = (page_allocations(1), page_allocations(2));
    // The second page alone: what is made once for the client does not count.
    let page = two - one;
    let kept = PAGE * STRINGS;
    // Each application has a list of its secrets, and the page is a list that grows by doubling.
    let lists = PAGE + 64;
    bounds.check(
        "a page of a list takes at most one allocation per string kept",
        page <= u64::try_from(kept + lists).unwrap(),
        format!("{page} for {kept} strings and {} lists", PAGE + 1),
    );

    let short = stream(10);
    let pages = if benches::is_measuring() { 1_002 } else { 20 };
    let long = stream(pages);
    bounds.check(
        format!(
            "a stream of {} applications holds what one of 9,990 does",
            pages * PAGE
        ),
        long.bytes_max <= short.bytes_max + short.bytes_max / 50,
        format!(
            "{} KiB and {} KiB",
            long.bytes_max >> 10,
            short.bytes_max >> 10
        ),
    );
}

fn page_allocations(pages: usize) -> u64 {
    let graph = GraphClient::new(Pages::new(pages), Held::new(), &Cloud::public());
    let graph = graph.with_traffic(unlimited());
    run(async {
        let mut list = graph.applications(&ListOptions::new());
        while let Some(page) = list.next().await.unwrap() {
            assert_eq!(page.value.len(), PAGE);
        }
    })
    .count_total
}

/// Goes through all credentials of so many pages of applications.
fn stream(pages: usize) -> AllocationInfo {
    let (tenant, client) = ("contoso.example".parse().unwrap(), CLIENT.parse().unwrap());
    let http = Pages::new(pages);
    let access = TenantAccess::new(http, Held::new(), &Cloud::public(), &tenant, client);
    let access = access.with_traffic(unlimited());
    let mut count = 0;
    let info = run(async {
        let mut all = pin!(access.expiries(&ExpiryWatch::new()));
        while all.try_next().await.unwrap().is_some() {
            count += 1;
        }
    });
    assert_eq!(count, pages * PAGE);
    info
}

fn run(work: impl Future<Output = ()>) -> AllocationInfo {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let mut work = Some(work);
    measure(|| runtime.block_on(work.take().unwrap()))
}
