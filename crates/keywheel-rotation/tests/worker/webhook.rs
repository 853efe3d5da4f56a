//! A webhook to a server that listens.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keywheel_core::{Clock, ReqwestSend, SystemEntropy};
use keywheel_rotation::{DeliveryOptions, EventDelivery, Webhook};
use tokio::sync::Notify;
use tokio::time::Instant;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

use crate::delivery::{KEY, consumer, key};
use crate::fleet::{Fleet, tenant};

/// Is too busy for the first request, and takes the others.
#[derive(Clone, Default)]
struct Busy(Arc<Asked>);

#[derive(Default)]
struct Asked {
    at: Mutex<Vec<Instant>>,
    third: Notify,
}

impl Respond for Busy {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        let mut at = self.0.at.lock().unwrap();
        at.push(Instant::now());
        match at.len() {
            1 => ResponseTemplate::new(503).insert_header("retry-after", "1"),
            2 => ResponseTemplate::new(204),
            _ => {
                self.0.third.notify_one();
                ResponseTemplate::new(204)
            }
        }
    }
}

#[tokio::test]
async fn a_server_that_is_busy_is_asked_again_when_it_said_and_in_order() {
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 1).await;
    let journal = fleet.store.clone();
    let (server, busy) = (MockServer::start().await, Busy::default());
    let mock = Mock::given(method("POST")).respond_with(busy.clone());
    mock.mount(&server).await;
    let url = format!("{}/hook", server.uri()).parse().unwrap();
    let http = ReqwestSend::builder().build().unwrap();
    let webhook = Webhook::new(http, fleet.clock.clone(), url, key(KEY)).unwrap();
    let mut options = DeliveryOptions::default();
    // So that it is `Retry-After` alone that makes it wait.
    options.retry.base = Duration::from_millis(1);
    let (store, clock) = (Arc::new(journal), Arc::new(fleet.clock.clone()));
    let delivery = EventDelivery::new(store, clock, &SystemEntropy::new(), consumer(), webhook);

    delivery.options(options).run(busy.0.third.notified()).await;

    let requests = server.received_requests().await.unwrap();
    let header = |request: &Request, name| request.headers[name].to_str().unwrap().to_owned();
    let ids: Vec<_> = requests.iter().map(|it| header(it, "webhook-id")).collect();
    let id = |seq| format!("{}.{seq}", members[0].id);
    assert_eq!(ids, [id(1), id(1), id(2)]);
    for request in &requests {
        let [id, timestamp, signature] = ["webhook-id", "webhook-timestamp", "webhook-signature"]
            .map(|name| header(request, name));
        let signed = (id.as_str(), timestamp.as_str(), signature.as_str());
        let (body, now) = (&request.body, fleet.clock.now());
        assert!(key(KEY).verify(signed, body, now, Duration::from_mins(5)));
    }
    assert_eq!(requests[0].body, requests[1].body);
    let at = busy.0.at.lock().unwrap();
    assert!(
        at[1] - at[0] >= Duration::from_secs(1),
        "sooner than it said"
    );
}
