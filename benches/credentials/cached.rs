//! A token at hand: no allocation, close to the floor, and far from `azure_identity`.

use std::hint::black_box;
use std::sync::Arc;

use allocation_counter::measure;
use arc_swap::ArcSwap;
use azure_core::credentials::AccessToken;
use azure_core::http::{ClientOptions, Transport};
use azure_identity::{ClientSecretCredential as Theirs, ClientSecretCredentialOptions};
use benches::{Bounds, Race, Times};
use chrono::{DateTime, Utc};
use keywheel_core::{Clock, Cloud, SystemClock, TokenCredential, TokenRequest};
use keywheel_credentials::ClientSecretCredential;
use tokio::runtime::{Builder, Runtime};

use crate::stand_in::{CLIENT, Memory, SECRET, TENANT, client, endpoint, graph, secret};

const QUESTIONS: usize = 1_000;
const TASKS: usize = 64;

/// By the SDK's own trait, which ours implements too under the feature `azure-core`.
async fn their_token(credential: &Theirs) -> AccessToken {
    let scopes = ["https://graph.microsoft.com/.default"];
    let token = azure_core::credentials::TokenCredential::get_token(credential, &scopes, None);
    token.await.unwrap()
}

pub(crate) fn check(bounds: &mut Bounds) {
    let all = Contestants::warm();
    all.allocations(bounds);
    for times in [all.one_task(), all.many_tasks()] {
        times.at_least(bounds, "keywheel", 6.0, "azure_identity");
        let ratio = times.of("keywheel") / times.of("floor");
        let claim = "a cached token costs at most 1.3 times a load and a look at the clock";
        bounds.check(claim, ratio <= 1.3, format!("{ratio:.2} times"));
    }
}

/// Credentials with a token at hand.
struct Contestants {
    runtime: Runtime,
    ours: ClientSecretCredential,
    request: TokenRequest,
    theirs: Arc<Theirs>,
    floor: Arc<Floor>,
}

/// The least that a token that others may replace and that ends can cost: a load and a look at the clock.
struct Floor {
    ends: ArcSwap<DateTime<Utc>>,
    clock: SystemClock,
}

impl Floor {
    fn look(&self) -> bool {
        self.clock.now() < **self.ends.load()
    }
}

impl Contestants {
    fn warm() -> Self {
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let endpoint = endpoint(Memory::default(), &Cloud::public());
        let ours = ClientSecretCredential::new(endpoint, client(), secret());
        let request = graph();
        let transport = Transport::new(Arc::new(Memory::default()));
        let options = ClientSecretCredentialOptions {
            client_options: ClientOptions {
                transport: Some(transport),
                ..ClientOptions::default()
            },
        };
        let theirs = Theirs::new(TENANT, CLIENT.into(), SECRET.into(), Some(options)).unwrap();
        let token = runtime.block_on(ours.get_token(&request)).unwrap();
        runtime.block_on(their_token(&theirs));
        let floor = Floor {
            ends: ArcSwap::from_pointee(token.expires_on),
            clock: SystemClock::new(),
        };
        Self {
            runtime,
            ours,
            request,
            theirs,
            floor: Arc::new(floor),
        }
    }

    fn allocations(&self, bounds: &mut Bounds) {
        println!("\nmemory");
        let ours = measure(|| {
            for _ in 0..QUESTIONS {
                black_box(self.ours.cached_token(&self.request));
            }
        });
        let theirs = measure(|| {
            drop(self.runtime.block_on(their_token(&self.theirs)));
        });
        let seen = format!(
            "{} for {QUESTIONS}; azure_identity: {} and {} bytes for one",
            ours.count_total, theirs.count_total, theirs.bytes_total
        );
        let claim = "a cached token takes no allocation";
        bounds.check(claim, ours.count_total == 0, seen);
    }

    fn one_task(&self) -> Times {
        let their_turn = async || {
            for _ in 0..QUESTIONS {
                black_box(their_token(&self.theirs).await);
            }
        };
        let our_turn = async || {
            for _ in 0..QUESTIONS {
                black_box(self.ours.get_token(&self.request).await.unwrap());
            }
        };
        let cached = || {
            for _ in 0..QUESTIONS {
                black_box(self.ours.cached_token(&self.request));
            }
        };
        let floor = || {
            for _ in 0..QUESTIONS {
                black_box(self.floor.look());
            }
        };
        Race::new("cached token, one task", QUESTIONS)
            .with("keywheel", cached)
            .with("floor", floor)
            .with("keywheel, get_token", || {
                self.runtime.block_on(our_turn());
            })
            .with("azure_identity", || self.runtime.block_on(their_turn()))
            .run()
    }

    fn many_tasks(&self) -> Times {
        let (ours, theirs, floor) = (&self.ours, &self.theirs, &self.floor);
        Race::new("cached token, 64 tasks", TASKS * QUESTIONS)
            .with("keywheel", || {
                self.tasks(|| {
                    let (ours, request) = (ours.clone(), self.request.clone());
                    async move {
                        for _ in 0..QUESTIONS {
                            black_box(ours.cached_token(&request));
                        }
                    }
                });
            })
            .with("floor", || {
                self.tasks(|| {
                    let floor = Arc::clone(floor);
                    async move {
                        for _ in 0..QUESTIONS {
                            black_box(floor.look());
                        }
                    }
                });
            })
            .with("azure_identity", || {
                self.tasks(|| {
                    let theirs = Arc::clone(theirs);
                    async move {
                        for _ in 0..QUESTIONS {
                            black_box(their_token(&theirs).await);
                        }
                    }
                });
            })
            .run()
    }

    fn tasks<F: Future<Output = ()> + Send + 'static>(&self, task: impl Fn() -> F) {
        self.runtime.block_on(async {
            let tasks: Vec<_> = (0..TASKS).map(|_| tokio::spawn(task())).collect();
            for task in tasks {
                task.await.unwrap();
            }
        });
    }
}
