//! Servers, each on a thread of its own, and how long such a thread was on a processor.

use std::fs;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use keywheel_emulator::Emulator;
use tokio::sync::oneshot;

use crate::floor;

/// A server on one thread.
pub(crate) struct Core {
    pub(crate) port: u16,
    pub(crate) ca_pem: String,
    /// Where the system says how long the thread ran.
    pub(crate) thread: String,
    app: Option<App>,
    stop: Option<oneshot::Sender<()>>,
    joined: Option<JoinHandle<()>>,
}

/// The application that calls.
#[derive(Clone)]
pub(crate) struct App {
    pub(crate) client_id: String,
    tenant_id: String,
    secret: String,
}

impl App {
    pub(crate) fn token_path(&self) -> String {
        format!("/{}/oauth2/v2.0/token", self.tenant_id)
    }

    pub(crate) fn token_request(&self) -> String {
        let Self {
            client_id, secret, ..
        } = self;
        // The alphabet of secrets needs no escapes.
        format!(
            "grant_type=client_credentials&client_id={client_id}&client_secret={secret}\
             &scope=https%3A%2F%2Fgraph.microsoft.com%2F.default"
        )
    }
}

impl Core {
    /// Starts an emulator, and returns when it listens.
    pub(crate) fn emulator() -> Self {
        Self::start(|ready, stop| async move {
            let emulator = Emulator::start().await.unwrap();
            let app = emulator.default_app();
            let port = emulator.authority().rsplit(':').next().unwrap().parse();
            ready(Started {
                port: port.unwrap(),
                ca_pem: emulator.ca_pem().to_owned(),
                app: Some(App {
                    client_id: app.client_id().to_owned(),
                    tenant_id: app.tenant_id().to_owned(),
                    secret: app.secret().expose().to_owned(),
                }),
            });
            let _ = stop.await;
        })
    }

    /// Starts a server that answers `size` bytes whatever it is asked.
    pub(crate) fn floor(size: usize) -> Self {
        Self::start(move |ready, stop| async move {
            let (listener, tls, ca_pem) = floor::listen().await;
            let port = listener.local_addr().unwrap().port();
            ready(Started {
                port,
                ca_pem,
                app: None,
            });
            tokio::select! {
                () = floor::serve(listener, tls, size) => {}
                _ = stop => {}
            }
        })
    }

    pub(crate) fn app(&self) -> App {
        self.app.clone().unwrap()
    }

    fn start<F>(
        serve: impl FnOnce(Box<dyn FnOnce(Started) + Send>, oneshot::Receiver<()>) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()>,
    {
        let (ready, started) = mpsc::channel();
        let (stop, stopped) = oneshot::channel();
        let joined = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let thread = this_thread();
            let ready = Box::new(move |it| ready.send((thread, it)).unwrap());
            runtime.block_on(serve(ready, stopped));
        });
        let (thread, Started { port, ca_pem, app }) = started.recv().unwrap();
        Self {
            port,
            ca_pem,
            thread,
            app,
            stop: Some(stop),
            joined: Some(joined),
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(joined) = self.joined.take() {
            let _ = joined.join();
        }
    }
}

/// What clients must know of a server.
pub(crate) struct Started {
    port: u16,
    ca_pem: String,
    app: Option<App>,
}

/// Returns where the system says how long this thread ran.
pub(crate) fn this_thread() -> String {
    let thread = fs::read_link("/proc/thread-self").expect("this bench reads Linux's /proc");
    format!("/proc/{}/schedstat", thread.display())
}

/// Returns how long a thread was on a processor (proc_pid_schedstat: nanoseconds, the first number).
pub(crate) fn busy(thread: &str) -> Duration {
    let text = fs::read_to_string(thread).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}
