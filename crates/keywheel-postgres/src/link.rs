use std::fmt;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, pending, poll_fn, select};
use futures_util::{StreamExt, TryStreamExt};
use keywheel_connection::StoreError;
use keywheel_core::Secret;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::config::{SslMode, TargetSessionAttrs};
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, Config, Connection, NoTls, Row, Socket};

use crate::error::{Fault, not_ours, too_slow};
use crate::servers::{Encrypt, Servers, settings};
use crate::tls::Tls;

/// Connects to the server.
#[derive(Clone)]
pub(crate) struct Connector {
    servers: Servers,
    /// Everything else of the URL.
    settings: Config,
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
        let config = config.map_err(|_| {
            not_ours("database URL: expected postgres://user:password@host:port/database")
        })?;
        let servers = Servers::of(&config)?;
        let encrypted = match mode {
            Some("disable") => false,
            Some("allow" | "prefer") => {
                return Err(not_ours(
                    "database URL: sslmode=prefer can be talked out of encryption; say require, or disable",
                ));
            }
            Some(_) => true,
            None => !servers.are_local(),
        };
        if encrypted && !servers.are_named() {
            return Err(not_ours(
                "database URL: to encrypt, the server's name is needed, which its certificate is checked \
                 for: say host beside hostaddr. A socket in the file system can't be encrypted: say \
                 sslmode=disable",
            ));
        }
        let mut settings = settings(&config);
        settings
            .ssl_mode(if encrypted {
                SslMode::Require
            } else {
                SslMode::Disable
            })
            .tcp_user_timeout(patience)
            // What a replica reads may be behind.
            .target_session_attrs(TargetSessionAttrs::ReadWrite);
        Ok(Self {
            servers,
            settings,
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
                let (client, connection) = self.reach(tls).await?;
                Ok(self.link(client, tokio::spawn(async move { drop(connection.await) })))
            }
            None => {
                let (client, connection) = self.reach(&NoTls).await?;
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
            Some(tls) => self.hear(self.reach(tls).await?, channel, hear).await,
            None => self.hear(self.reach(&NoTls).await?, channel, hear).await,
        }
    }

    async fn reach<T: Encrypt>(
        &self,
        tls: &T,
    ) -> Result<(Client, Connection<Socket, T::Stream>), Fault> {
        self.servers
            .connect(&self.settings, tls, self.patience)
            .await
    }

    async fn hear<T: tokio_postgres::tls::TlsStream + Unpin>(
        &self,
        (client, mut connection): (Client, Connection<Socket, T>),
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
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("servers", &self.servers)
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

    /// Runs statements that return nothing.
    pub(crate) async fn batch(&self, sql: &str) -> Result<(), Fault> {
        self.batch_within(self.patience, sql).await
    }

    /// Runs statements that may take longer than others.
    pub(crate) async fn batch_within(&self, patience: Duration, sql: &str) -> Result<(), Fault> {
        let answer = timeout(patience, self.client.batch_execute(sql)).await;
        Ok(answer.map_err(|_| too_slow())??)
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
