use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::call::Surface;
use crate::clock::Clock;
use crate::directory::Directory;
use crate::emulator::Emulator;
use crate::fault::Fault;
use crate::keys::Pool;
use crate::material::KeyMaterial;
use crate::seed::{Pending, plant};
use crate::server::{Listener, Phase, serve};
use crate::snapshot::Snapshot;
use crate::tls::{Authority, TlsError, server_from_pem};
use crate::world::{Keys, Origins, Service, World};
use crate::{Behaviours, InvalidSeed, SecretText, Seed};

/// Sets an emulator up. Made by [`Emulator::builder`].
#[derive(Debug)]
pub struct Builder {
    seed: Seed,
    clock: Clock,
    bind: IpAddr,
    port: u16,
    graph_port: Option<u16>,
    hosts: Vec<String>,
    plain_http: bool,
    read_timeout: Option<Duration>,
    material: Option<KeyMaterial>,
    certificate: Option<(String, SecretText)>,
    snapshot: Option<Snapshot>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            seed: Seed::default(),
            clock: Clock::system(),
            bind: IpAddr::V4(Ipv4Addr::LOCALHOST),
            port: 0,
            graph_port: None,
            hosts: Vec::new(),
            plain_http: false,
            read_timeout: None,
            material: None,
            certificate: None,
            snapshot: None,
        }
    }

    /// Sets what the directory holds. Default: [`Seed::default`].
    #[must_use]
    pub fn seed(mut self, seed: Seed) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the clock. Default: [`Clock::system`].
    #[must_use]
    pub fn clock(mut self, clock: Clock) -> Self {
        self.clock = clock;
        self
    }

    /// Lets the clock run from `start`.
    #[must_use]
    pub fn starting_at(self, start: DateTime<Utc>) -> Self {
        self.clock(Clock::running_from(start))
    }

    /// Sets how the service behaves, replacing what the seed says.
    #[must_use]
    pub fn behaviours(mut self, behaviours: Behaviours) -> Self {
        self.seed.behaviours = behaviours;
        self
    }

    /// Adds a fault.
    #[must_use]
    pub fn fault(mut self, fault: Fault) -> Self {
        self.seed.faults.push(fault);
        self
    }

    /// Sets the port. Default: one that is free.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// Serves Graph on an origin of its own, at `port` (0: one that is free), as Azure does. Default: login
    /// and Graph share one origin.
    #[must_use]
    pub fn graph_port(mut self, port: u16) -> Self {
        self.graph_port = Some(port);
        self
    }

    /// Sets the address to listen on. Default: 127.0.0.1.
    #[must_use]
    pub fn bind(mut self, address: IpAddr) -> Self {
        self.bind = address;
        self
    }

    /// Adds a host name or address that the certificate is made for, besides `localhost`, `127.0.0.1` and
    /// `::1`. The first one becomes the host of [`Emulator::authority`] and [`Emulator::graph`].
    #[must_use]
    pub fn host(mut self, name: impl Into<String>) -> Self {
        self.hosts.push(name.into());
        self
    }

    /// Serves HTTP without TLS. Real clients refuse it; it is for tools that can't take a certificate, and it
    /// listens on loopback addresses only.
    #[must_use]
    pub fn plain_http(mut self) -> Self {
        self.plain_http = true;
        self
    }

    /// Gives clients this long to send a request they have begun. Default: as long as they like, so that no
    /// timer runs and tests may pause tokio's clock.
    #[must_use]
    pub fn read_timeout(mut self, limit: Duration) -> Self {
        self.read_timeout = Some(limit);
        self
    }

    /// Takes the keys of an earlier emulator, so that clients need not learn new ones. Default: made anew.
    #[must_use]
    pub fn key_material(mut self, material: KeyMaterial) -> Self {
        self.material = Some(material);
        self
    }

    /// Serves with this certificate chain (PEM, leaf first) and its private key (PEM) instead of with a
    /// certificate of the emulator's own authority.
    #[must_use]
    pub fn certificate(mut self, chain: impl Into<String>, key: SecretText) -> Self {
        self.certificate = Some((chain.into(), key));
        self
    }

    /// Goes on where an earlier emulator was, its clock and keys included. What the seed says is left aside.
    #[must_use]
    pub fn restore(mut self, snapshot: Snapshot) -> Self {
        self.snapshot = Some(snapshot);
        self
    }

    /// Starts the emulator on the current tokio runtime.
    ///
    /// It listens when this returns. The process's RSA keys are made in the background at the first start,
    /// about 100 ms; requests that come sooner wait for them.
    ///
    /// # Errors
    ///
    /// When the address can't be listened on, the seed contradicts itself, or a host name is not one.
    pub async fn start(mut self) -> Result<Emulator, StartError> {
        Pool::warm();
        if self.plain_http && !self.bind.is_loopback() {
            return Err(StartError::invalid(
                "plain HTTP is served on loopback addresses only",
            ));
        }
        let hosts = self.all_hosts();
        let snapshot = self.snapshot.take();
        if let Some(snapshot) = &snapshot {
            self.material = Some(snapshot.keys.clone());
        }
        let authority = self.authority().map_err(StartError::tls)?;
        let tls = self.tls(&authority, &hosts).map_err(StartError::tls)?;
        let login = self.listen(self.port).await?;
        let graph = match self.graph_port {
            Some(port) => Some(self.listen(port).await?),
            None => None,
        };
        let origins = self.origins(&hosts, &login, graph.as_ref())?;
        let read_timeout = self.read_timeout;
        let service = Arc::new(self.service(snapshot, authority, origins.clone())?);
        let (phase, _) = watch::channel(Phase::Starting);
        let surface = if graph.is_some() {
            Surface::Login
        } else {
            Surface::Both
        };
        let mut doors = vec![(login, surface, origins.login)];
        doors.extend(graph.map(|tcp| (tcp, Surface::Graph, origins.graph)));
        let tasks = doors
            .into_iter()
            .map(|(tcp, surface, origin)| {
                let listener = Arc::new(Listener {
                    tcp,
                    tls: tls.clone(),
                    surface,
                    origin,
                    read_timeout,
                });
                tokio::spawn(serve(listener, Arc::clone(&service), phase.subscribe()))
            })
            .collect();
        make_ready(Arc::clone(&service), phase.clone());
        Ok(Emulator::running(service, phase, tasks))
    }

    fn authority(&self) -> Result<Authority, TlsError> {
        match &self.material {
            Some(material) => Authority::read(&material.ca, material.ca_key.expose()),
            None => Authority::make(),
        }
    }

    fn tls(
        &self,
        authority: &Authority,
        hosts: &[String],
    ) -> Result<Option<TlsAcceptor>, TlsError> {
        if self.plain_http {
            return Ok(None);
        }
        let config = match &self.certificate {
            Some((chain, key)) => server_from_pem(chain, key.expose()),
            None => authority.server(hosts),
        };
        config.map(|config| Some(TlsAcceptor::from(config)))
    }

    fn all_hosts(&self) -> Vec<String> {
        let local = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
        self.hosts.iter().cloned().chain(local).collect()
    }

    async fn listen(&self, port: u16) -> Result<TcpListener, StartError> {
        let address = SocketAddr::new(self.bind, port);
        TcpListener::bind(address)
            .await
            .map_err(|error| StartError {
                message: format!(
                    "can't listen on {address}: choose another port, or stop what uses it"
                ),
                source: Some(error.into()),
            })
    }

    fn origins(
        &self,
        hosts: &[String],
        login: &TcpListener,
        graph: Option<&TcpListener>,
    ) -> Result<Origins, StartError> {
        let scheme = if self.plain_http { "http" } else { "https" };
        let host = hosts.first().map_or("localhost", String::as_str);
        let origin = |tcp: &TcpListener| {
            let port = tcp.local_addr().map_err(|error| StartError {
                message: "the listening socket has no address".to_owned(),
                source: Some(error.into()),
            })?;
            Ok::<_, StartError>(format!("{scheme}://{host}:{}", port.port()))
        };
        let login = origin(login)?;
        Ok(Origins {
            graph: graph.map_or_else(|| Ok(login.clone()), origin)?,
            login,
        })
    }

    fn service(
        self,
        snapshot: Option<Snapshot>,
        authority: Authority,
        origins: Origins,
    ) -> Result<Service, StartError> {
        let keys = self.material.as_ref().map_or_else(Keys::default, Keys::of);
        let (world, pending) = match snapshot {
            Some(snapshot) => {
                self.clock.restore(snapshot.clock);
                let mut world = World::new(Directory::default(), Behaviours::default());
                snapshot.fill(&mut world);
                (world, Vec::new())
            }
            None => self.planted()?,
        };
        Ok(Service::new(
            self.clock, keys, origins, authority, world, pending,
        ))
    }

    fn planted(&self) -> Result<(World, Vec<Pending>), InvalidSeed> {
        let planted = plant(&self.seed, self.clock.now())?;
        let mut world = World::new(planted.directory, self.seed.behaviours.clone());
        world.issuers = planted.issuers;
        world.default_app = planted.default_app;
        for fault in &self.seed.faults {
            world.faults.add(fault.clone());
        }
        Ok((world, planted.pending))
    }
}

/// Waits for the keys, and opens the doors.
fn make_ready(service: Arc<Service>, phase: watch::Sender<Phase>) {
    tokio::task::spawn_blocking(move || {
        service.ready();
        phase.send_if_modified(|phase| {
            let starting = *phase == Phase::Starting;
            if starting {
                *phase = Phase::Running;
            }
            starting
        });
    });
}

/// Why the emulator did not start.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct StartError {
    message: String,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl StartError {
    fn invalid(message: &str) -> Self {
        Self {
            message: message.to_owned(),
            source: None,
        }
    }

    fn tls(error: TlsError) -> Self {
        Self {
            message: "can't set up TLS: check the host names and the certificate files".to_owned(),
            source: Some(error.0),
        }
    }
}

impl From<InvalidSeed> for StartError {
    fn from(error: InvalidSeed) -> Self {
        Self {
            message: error.to_string(),
            source: None,
        }
    }
}
