use keywheel_connection::StoreError;
use tokio_postgres::Client;

use crate::error::{Fault, not_ours};

/// The PostgreSQL schema that holds the tables.
#[derive(Clone, Debug)]
pub(crate) struct Schema(String);

impl Schema {
    /// Takes a plain name, so that it never needs quoting.
    pub(crate) fn new(name: &str) -> Result<Self, StoreError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = |c: char| c.is_ascii_lowercase() || c == '_';
        if (1..=63).contains(&name.len()) && name.starts_with(begins) && name.chars().all(plain) {
            Ok(Self(name.to_owned()))
        } else {
            Err(not_ours(
                "database schema: expected 1 to 63 lowercase letters, digits or underscores",
            ))
        }
    }

    /// Puts the schema's name into a statement, which says `keywheel.`.
    pub(crate) fn sql(&self, statement: &str) -> String {
        statement
            .replace("keywheel.", &format!("{}.", self.0))
            .replace("'keywheel_due'", &format!("'{}'", self.channel()))
    }

    /// Returns on which channel replicas tell each other that something fell due.
    pub(crate) fn channel(&self) -> String {
        format!("{}_due", self.0)
    }

    /// Brings the tables up to date. One replica does it while others wait.
    pub(crate) async fn migrate(&self, client: &Client) -> Result<(), Fault> {
        if self.version(client).await? == VERSION {
            return Ok(());
        }
        // Simple statements only: through PgBouncer, a transaction is all that stays on one connection.
        client.batch_execute("BEGIN").await?;
        match self.migrate_in_transaction(client).await {
            Ok(()) => Ok(client.batch_execute("COMMIT").await?),
            Err(fault) => {
                drop(client.batch_execute("ROLLBACK").await);
                Err(fault)
            }
        }
    }

    async fn migrate_in_transaction(&self, client: &Client) -> Result<(), Fault> {
        let lock = format!(
            "SELECT pg_advisory_xact_lock({LOCK}, hashtext('{}'))",
            self.0
        );
        client.batch_execute(&lock).await?;
        let found = self.version(client).await?;
        if found == 0 {
            // An administrator may have made the schema, and given it to a user who may make no other.
            let exists = format!("SELECT 1 FROM pg_namespace WHERE nspname = '{}'", self.0);
            if rows(client, &exists).await? == 0 {
                let create = format!("CREATE SCHEMA {}", self.0);
                client.batch_execute(&create).await?;
            }
            let create = "CREATE TABLE keywheel.migration (
                version int PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())";
            client.batch_execute(&self.sql(create)).await?;
        }
        for (version, migration) in (1..).zip(MIGRATIONS).skip(found) {
            client.batch_execute(&self.sql(migration)).await?;
            let note = format!("INSERT INTO keywheel.migration (version) VALUES ({version})");
            client.batch_execute(&self.sql(&note)).await?;
        }
        Ok(())
    }

    /// Returns how many migrations were made.
    async fn version(&self, client: &Client) -> Result<usize, Fault> {
        let tables = format!(
            "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
             WHERE nspname = '{}' AND relkind = 'r'",
            self.0
        );
        if rows(client, &tables).await? == 0 {
            return Ok(0);
        }
        let ours = format!("{tables} AND relname = 'migration'");
        if rows(client, &ours).await? == 0 {
            return Err(not_ours(format!(
                "database schema {}: it holds tables that are not keywheel's, and was left as it is; \
                 choose another schema",
                self.0
            ))
            .into());
        }
        let version = rows(client, &self.sql("SELECT 1 FROM keywheel.migration")).await?;
        if version > VERSION {
            return Err(not_ours(format!(
                "database schema {}: it was written by a newer keywheel (schema {version}), and was left \
                 as it is; upgrade this program",
                self.0
            ))
            .into());
        }
        Ok(version)
    }
}

async fn rows(client: &Client, sql: &str) -> Result<usize, Fault> {
    let rows = client.query_typed(sql, &[]).await?;
    Ok(rows.len())
}

/// `kwhl`: the first half of the names of our advisory locks.
pub(crate) const LOCK: i32 = 0x6b77_686c;

const VERSION: usize = MIGRATIONS.len();

/// From nothing to today. Only ever add to the end: databases of every earlier version are about.
const MIGRATIONS: [&str; 4] = [
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
    include_str!("schema/v4.sql"),
];
