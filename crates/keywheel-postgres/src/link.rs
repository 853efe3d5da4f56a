use std::fmt;
use std::future::Future;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, pending, poll_fn, select};
use futures_util::{StreamExt, TryStreamExt};
use keywheel_connection::StoreError;
use keywheel_core::Secret;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{Host, SslMode, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, NoTls, Row, Socket};

use crate::error::{Fault, not_ours, too_slow};
use crate::tls::Tls;

/// Connects to the server.
#[derive(Clone)]
pub(crate) struct Connector {
    config: Config,
    tls: Option<Tls>,
    /// How long any one answer may take.
    patience: Duration,
}

/// A parameter of a statement with its type, so that the server need not be asked for it first.
pub(crate) type Param<'a> = (&'a (dyn ToSql + Sync), Type);

impl Connector {
    pub(crate) fn new(
        url: &Secret,
        root: Option<&[u8]>,
        patience: Duration,
    ) -> Result<Self, StoreError> {
        let mode = ssl_mode(url.expose());
        // These two check the certificate, as everything here does.
        let verified = ["verify-full", "verify-ca"];
        let text = match mode {
            Some(mode) if verified.contains(&mode) => {
                let given = format!("sslmode={mode}");
                Secret::new(url.expose().replace(&given, "sslmode=require"))
            }
            _ => url.clone(),
        };
        // The error may repeat what it read.
        let config: Result<Config, _> = text.expose().parse();
        let mut config = config.map_err(|_| {
            not_ours("database URL: expected postgres://user:password@host:port/database")
        })?;
        let local = config.get_hosts().iter().all(is_local);
        let encrypted = match mode {
            Some("disable") => false,
            Some("allow" | "prefer") => {
                return Err(not_ours(
                    "database URL: sslmode=prefer can be talked out of encryption; say require, or disable",
                ));
            }
            Some(_) => true,
            None => !local,
        };
        config
            .ssl_mode(if encrypted {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .connect_timeout(patience)
            .tcp_user_timeout(patience)
            // What a replica reads may be behind.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        if config.get_application_name().is_none() {
            config.application_name("keywheel");
        }
        Ok(Self {
            config,
            tls: encrypted.then(|| Tls::new(root)).transpose()?,
            patience,
        })
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(crate) async fn connect(&self) -> Result<Link, Fault> {
        match &self.tls {
            Some(tls) => {
                let (client, connection) = self.in_time(self.config.connect(tls.clone())).await?;
                Ok(self.link(client, tokio::spawn(async move { drop(connection.await) })))
            }
            None => {
                let (client, connection) = self.in_time(self.config.connect(NoTls)).await?;
                Ok(self.link(client, tokio::spawn(async move { drop(connection.await) })))
            }
        }
    }

    /// Connects, and calls `hear` at each notification until the connection ends.
    pub(crate) async fn listen(
        &self,
        channel: &str,
        hear: impl Fn() + Send + Sync,
    ) -> Result<(), Fault> {
        match &self.tls {
            Some(tls) => {
                let connected = self.in_time(self.config.connect(tls.clone())).await?;
                self.hear(connected, channel, hear).await
            }
            None => {
                let connected = self.in_time(self.config.connect(NoTls)).await?;
                self.hear(connected, channel, hear).await
            }
        }
    }

    async fn hear<T: tokio_postgres::tls::TlsStream + Unpin>(
        &self,
        (client, mut connection): (Client, tokio_postgres::Connection<Socket, T>),
        channel: &str,
        hear: impl Fn() + Send + Sync,
    ) -> Result<(), Fault> {
        let messages = async {
            while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
                if let AsyncMessage::Notification(_) = message? {
                    hear();
                }
            }
            Ok(())
        };
        let listen = async {
            client.batch_execute(&format!("LISTEN {channel}")).await?;
            // Something may have been said before.
            hear();
            pending().await
        };
        match select(pin!(messages), pin!(listen)).await {
            Either::Left((ended, _)) | Either::Right((ended, _)) => ended,
        }
    }

    fn link(&self, client: Client, task: JoinHandle<()>) -> Link {
        Link {
            client,
            task,
            patience: self.patience,
        }
    }

    async fn in_time<T>(
        &self,
        what: impl Future<Output = Result<T, tokio_postgres::Error>>,
    ) -> Result<T, Fault> {
        let answer = timeout(self.patience, what).await;
        Ok(answer.map_err(|_| too_slow())??)
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("hosts", &self.config.get_hosts())
            .field("encrypted", &self.tls.is_some())
            .finish_non_exhaustive()
    }
}

/// One connection to the server. One statement at a time.
#[derive(Debug)]
pub(crate) struct Link {
    client: Client,
    task: JoinHandle<()>,
    patience: Duration,
}

impl Link {
    pub(crate) fn is_closed(&self) -> bool {
        self.client.is_closed()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// Runs one statement: in one round trip, in a transaction of its own, and with nothing prepared that
    /// another connection of a pooler would not know. Each row is read as it comes, which for most of them is
    /// while the server still commits; all are given back when it has.
    pub(crate) async fn run<T: Send>(
        &self,
        sql: &str,
        params: &[Param<'_>],
        read: impl Fn(Row) -> Result<T, Fault> + Send + Sync,
    ) -> Result<Vec<T>, Fault> {
        let params = params.iter().map(|(value, kind)| (*value, kind.clone()));
        let answer = async {
            let rows = self.client.query_typed_raw(sql, params).await?;
            rows.map(|row| read(row?)).try_collect().await
        };
        timeout(self.patience, answer)
            .await
            .map_err(|_| too_slow())?
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Also when the server keeps us waiting.
        self.task.abort();
    }
}

/// Finds the mode among the parameters: never in a password or a name.
fn ssl_mode(url: &str) -> Option<&str> {
    let is_url = url.starts_with("postgres://") || url.starts_with("postgresql://");
    let mut parameters = if is_url {
        url.rsplit_once('?')?.1.split('&')
    } else {
        url.split(' ')
    };
    parameters.find_map(|parameter| parameter.strip_prefix("sslmode="))
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

    #[test]
    fn only_a_parameter_says_how_to_encrypt() {
        for (url, mode) in [
            (
                "postgres://u:p@h/d?sslmode=verify-full",
                Some("verify-full"),
            ),
            (
                "postgres://u:p@h/d?a=b&sslmode=disable&c=d",
                Some("disable"),
            ),
            ("postgres://u:sslmode=disable@h/sslmode=disable", None),
            ("postgres://u:p@h/d?application_name=sslmode=disable", None),
            ("host=h user=u sslmode=disable", Some("disable")),
            ("host=h password=sslmode=disable", None),
        ] {
            assert_eq!(ssl_mode(url), mode, "{url}");
        }
    }
}
