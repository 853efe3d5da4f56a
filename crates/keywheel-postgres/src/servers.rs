use std::io;
use std::net::IpAddr;
use std::time::Duration;

use keywheel_connection::StoreError;
use keywheel_core::{Entropy, SystemEntropy};
use tokio::net::lookup_host;
use tokio::time::{Instant, timeout_at};
use tokio_postgres::config::{Host, LoadBalanceHosts};
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, Connection, NoTls, Socket};

use crate::error::{Fault, not_ours, too_slow, unresolved};
use crate::tls::Tls;

/// The servers that a URL names, of which the first that accepts writes is used.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    servers: Vec<Server>,
    in_any_order: bool,
}

/// One server: by its name, by its address, or by its name at an address.
#[derive(Clone, Debug)]
struct Server {
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

/// What connections are encrypted by, or not.
pub(crate) trait Encrypt:
    MakeTlsConnect<Socket, Stream: Send, TlsConnect: Send + TlsConnect<Socket, Future: Send>>
    + Clone
    + Send
    + Sync
{
}

impl Encrypt for Tls {}

impl Encrypt for NoTls {}

type Connected<T> = (Client, Connection<Socket, T>);

impl Servers {
    pub(crate) fn of(config: &Config) -> Result<Self, StoreError> {
        let (hosts, addresses) = (config.get_hosts(), config.get_hostaddrs());
        let count = hosts.len().max(addresses.len());
        let fits = |length| length == 0 || length == count;
        let ports = config.get_ports();
        if count == 0 {
            return Err(not_ours("database URL: it names no host"));
        }
        if !fits(hosts.len()) || !fits(addresses.len()) || ports.len() > 1 && !fits(ports.len()) {
            return Err(not_ours(
                "database URL: expected as many of host, of hostaddr and of port, if they are given",
            ));
        }
        let port = |n| {
            ports
                .get(n)
                .or_else(|| ports.first())
                .copied()
                .unwrap_or(5432)
        };
        let servers = (0..count).map(|n| Server {
            host: hosts.get(n).cloned(),
            address: addresses.get(n).copied(),
            port: port(n),
        });
        Ok(Self {
            servers: servers.collect(),
            in_any_order: config.get_load_balance_hosts() == LoadBalanceHosts::Random,
        })
    }

    /// Tells whether all that is said to them stays on this machine.
    pub(crate) fn are_local(&self) -> bool {
        self.servers.iter().all(Server::is_local)
    }

    /// Tells whether each is reached over a network, and has a name that its certificate can be checked against.
    pub(crate) fn are_named(&self) -> bool {
        self.servers
            .iter()
            .all(|server| matches!(server.host, Some(Host::Tcp(_))))
    }

    /// Connects to the first that accepts writes. Each has its share of the time, so that one that keeps silent
    /// does not use up that of the others.
    pub(crate) async fn connect<T>(
        &self,
        settings: &Config,
        tls: &T,
        patience: Duration,
    ) -> Result<Connected<T::Stream>, Fault>
    where
        T: Encrypt,
    {
        let until = Instant::now() + patience;
        let mut fault = too_slow().into();
        for (server, left) in counted_down(self.in_order(self.servers.iter().collect())) {
            let until = share(until, left);
            match self.connect_to(server, settings, tls, until).await {
                Ok(connected) => return Ok(connected),
                Err(last) => fault = last,
            }
        }
        Err(fault)
    }

    async fn connect_to<T>(
        &self,
        server: &Server,
        settings: &Config,
        tls: &T,
        until: Instant,
    ) -> Result<Connected<T::Stream>, Fault>
    where
        T: Encrypt,
    {
        let addresses = timeout_at(until, server.addresses()).await;
        let addresses = addresses.map_err(|_| too_slow())?.map_err(unresolved)?;
        let mut fault = too_slow().into();
        for (address, left) in counted_down(self.in_order(addresses)) {
            let config = server.at(address, settings);
            match timeout_at(share(until, left), config.connect(tls.clone())).await {
                Ok(Ok(connected)) => return Ok(connected),
                Ok(Err(error)) => fault = error.into(),
                Err(_) => fault = too_slow().into(),
            }
        }
        Err(fault)
    }

    /// Hosts and the addresses of each are tried as they are listed, or as chance has it.
    fn in_order<T>(&self, mut items: Vec<T>) -> Vec<T> {
        if self.in_any_order {
            items.sort_by_cached_key(|_| SystemEntropy::new().uuid());
        }
        items
    }
}

impl Server {
    fn is_local(&self) -> bool {
        let by_name = self.host.as_ref().is_none_or(is_local);
        by_name && self.address.is_none_or(|address| address.is_loopback())
    }

    /// Returns where it is: `None` for a socket in the file system.
    async fn addresses(&self) -> io::Result<Vec<Option<IpAddr>>> {
        match (&self.host, self.address) {
            (Some(Host::Tcp(host)), None) => {
                let found = lookup_host((host.as_str(), self.port)).await?;
                Ok(found.map(|address| Some(address.ip())).collect())
            }
            (_, address) => Ok(vec![address]),
        }
    }

    /// Returns the settings with this one server in them.
    fn at(&self, address: Option<IpAddr>, settings: &Config) -> Config {
        let mut config = settings.clone();
        config.port(self.port);
        match &self.host {
            Some(Host::Tcp(host)) => config.host(host),
            #[cfg(unix)]
            Some(Host::Unix(path)) => config.host_path(path),
            None => &mut config,
        };
        if let Some(address) = address {
            config.hostaddr(address);
        }
        config
    }
}

/// Returns the end of the first of so many parts of the time that is left.
fn share(until: Instant, parts: u32) -> Instant {
    let now = Instant::now();
    now + until.saturating_duration_since(now) / parts
}

/// Returns the items, each with how many are left, itself among them.
fn counted_down<T>(items: Vec<T>) -> impl Iterator<Item = (T, u32)> {
    let count = u32::try_from(items.len()).unwrap_or(u32::MAX);
    items.into_iter().zip((1..=count).rev())
}

/// Returns the settings of a URL without the servers that it names.
pub(crate) fn settings(url: &Config) -> Config {
    let mut config = Config::new();
    if let Some(user) = url.get_user() {
        config.user(user);
    }
    if let Some(password) = url.get_password() {
        config.password(password);
    }
    if let Some(name) = url.get_dbname() {
        config.dbname(name);
    }
    if let Some(options) = url.get_options() {
        config.options(options);
    }
    if let Some(interval) = url.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = url.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    config
        .application_name(url.get_application_name().unwrap_or("keywheel"))
        .ssl_negotiation(url.get_ssl_negotiation())
        .keepalives(url.get_keepalives())
        .keepalives_idle(url.get_keepalives_idle())
        .channel_binding(url.get_channel_binding());
    config
}

fn is_local(host: &Host) -> bool {
    match host {
        Host::Tcp(host) => {
            let address: Option<IpAddr> = host.parse().ok();
            host == "localhost" || address.is_some_and(|address| address.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn servers(url: &str) -> Result<Servers, StoreError> {
        Servers::of(&url.parse().unwrap())
    }

    #[test]
    fn local_is_only_what_stays_on_this_machine() {
        for (url, is_local) in [
            ("host=localhost", true),
            ("host=/run/postgresql", true),
            ("host=127.0.0.1 hostaddr=127.0.0.1", true),
            ("hostaddr=127.0.0.1,::1", true),
            ("postgres://u@[::1]/d", true),
            ("hostaddr=10.0.0.5", false),
            ("host=localhost hostaddr=10.0.0.5", false),
            ("host=/run/postgresql hostaddr=10.0.0.5", false),
            ("host=db.example.com hostaddr=127.0.0.1", false),
            ("host=localhost,db.example.com", false),
        ] {
            assert_eq!(servers(url).unwrap().are_local(), is_local, "{url}");
        }
    }

    #[test]
    fn a_url_that_names_no_host_or_not_enough_of_them_is_refused() {
        for url in [
            "user=keywheel",
            "postgres:///keywheel",
            "host=a,b hostaddr=10.0.0.5",
            "host=a,b port=1,2,3",
        ] {
            servers(url).unwrap_err();
        }
    }

    #[test]
    fn only_a_host_of_a_network_has_a_name_to_check() {
        for (url, are_named) in [
            ("host=db.example.com", true),
            ("host=db.example.com hostaddr=10.0.0.5", true),
            ("hostaddr=10.0.0.5", false),
            ("host=/run/postgresql", false),
            ("host=/run/postgresql hostaddr=10.0.0.5", false),
            ("host=db.example.com,/run/postgresql", false),
        ] {
            assert_eq!(servers(url).unwrap().are_named(), are_named, "{url}");
        }
    }

    #[test]
    fn only_who_asks_for_it_has_servers_tried_as_chance_has_it() {
        let items: Vec<_> = (0..20).collect();
        for (url, are_shuffled) in [
            ("host=a", false),
            ("host=a load_balance_hosts=random", true),
        ] {
            let servers = servers(url).unwrap();
            let mut tried = servers.in_order(items.clone());
            assert_eq!(tried != items, are_shuffled, "{url}: {tried:?}");
            tried.sort_unstable();
            assert_eq!(tried, items);
        }
    }

    #[test]
    fn a_server_is_reached_with_all_settings_of_the_url() {
        let url = "postgres://user:word@db.example.com:1234/data?hostaddr=10.0.0.5&options=-c%20a%3Db\
                   &application_name=program&keepalives=0&keepalives_idle=7&keepalives_interval=8\
                   &keepalives_retries=9&channel_binding=disable&sslnegotiation=direct";
        let config: Config = url.parse().unwrap();
        let servers = servers(url).unwrap();

        let only =
            servers.servers[0].at(config.get_hostaddrs().first().copied(), &settings(&config));

        assert_eq!(only, config);
    }

    #[test]
    fn each_server_has_its_own_port_and_address() {
        let url = "postgres://user@a,b:2/data";
        let config: Config = url.parse().unwrap();
        let second = &servers(url).unwrap().servers[1];

        let config = second.at("10.0.0.5".parse().ok(), &settings(&config));

        assert_eq!(config.get_hosts(), [Host::Tcp("b".to_owned())]);
        assert_eq!(config.get_hostaddrs().len(), 1);
        assert_eq!(config.get_ports(), [2]);
    }
}
