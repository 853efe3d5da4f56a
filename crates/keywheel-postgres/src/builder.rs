use std::fmt;
use std::time::Duration;

use keywheel_connection::StoreError;
use keywheel_core::Secret;

use crate::PostgresStore;
use crate::link::Connector;
use crate::pool::Pool;
use crate::schema::Schema;

/// Opens a [`PostgresStore`].
#[must_use]
pub struct PostgresStoreBuilder {
    url: Secret,
    listen: Listen,
    root: Option<Vec<u8>>,
    schema: String,
    connections: usize,
    patience: Duration,
}

enum Listen {
    Here,
    Nowhere,
    There(Secret),
}

impl PostgresStoreBuilder {
    pub(crate) fn new(url: Secret) -> Self {
        Self {
            url,
            listen: Listen::Here,
            root: None,
            schema: "keywheel".to_owned(),
            connections: 6,
            patience: Duration::from_secs(10),
        }
    }

    /// Trusts these root certificates (PEM), and no others, to tell who the server is. Default: those of the
    /// system.
    pub fn root_certificate(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.root = Some(pem.into());
        self
    }

    /// Sets the PostgreSQL schema that the tables are in. Default: `keywheel`, apart from the tables of the
    /// program around it.
    pub fn schema(mut self, name: impl Into<String>) -> Self {
        self.schema = name.into();
        self
    }

    /// Sets how many connections are opened at most, besides one that listens and, when leases of the future
    /// or a server that accepts writes are looked for, one that does. Default: 6, of which one saves; saves share statements, so that more are
    /// not faster.
    pub fn connections(mut self, connections: usize) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sets how long an answer of the server may take. Default: 10 seconds, longer than a failover to a
    /// standby in one place; at most a day. Of the time to connect each host of the URL, and each of its addresses, has an
    /// equal share.
    pub fn answer_timeout(mut self, timeout: Duration) -> Self {
        self.patience = timeout.min(LONGEST);
        self
    }

    /// Listens for hints at another address: past a pooler such as PgBouncer, which does not pass them on
    /// when it pools transactions.
    pub fn listen_at(mut self, url: impl Into<Secret>) -> Self {
        self.listen = Listen::There(url.into());
        self
    }

    /// Never listens for hints. Due work that other replicas make is then found by polling alone.
    pub fn without_listening(mut self) -> Self {
        self.listen = Listen::Nowhere;
        self
    }

    /// Connects, and brings the tables up to date: one replica does, while others wait, for ten minutes at most.
    ///
    /// The store's tasks run on the present runtime and end with the last clone of the store.
    ///
    /// # Errors
    ///
    /// [`NotOurs`](keywheel_connection::StoreErrorKind::NotOurs) when the URL, the user or the schema can't
    /// be used, or when the schema is of a newer version (nothing was changed then);
    /// [`Unavailable`](keywheel_connection::StoreErrorKind::Unavailable) when the server can't be reached.
    pub async fn open(self) -> Result<PostgresStore, StoreError> {
        let root = self.root.as_deref();
        let connector = |url: &Secret| Connector::new(url, root, self.patience);
        let here = connector(&self.url)?;
        let listen = match &self.listen {
            Listen::Here => Some(here.clone()),
            Listen::Nowhere => None,
            Listen::There(url) => Some(connector(url)?),
        };
        let schema = Schema::new(&self.schema)?;
        let link = here.connect().await?;
        schema.migrate(&link).await?;
        let pool = Pool::new(here, self.connections, vec![link]);
        Ok(PostgresStore::start(pool, schema, listen))
    }
}

/// What may be added to a time and told to a system.
const LONGEST: Duration = Duration::from_hours(24);

impl fmt::Debug for PostgresStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PostgresStoreBuilder")
            .field("schema", &self.schema)
            .finish_non_exhaustive()
    }
}
