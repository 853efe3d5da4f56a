use std::time::Duration;

use keywheel_connection::StoreError;
use tokio::time::{Instant, sleep};

use crate::error::{Fault, not_ours, too_slow};
use crate::link::Link;

/// The PostgreSQL schema that holds the tables.
#[derive(Clone, Debug)]
pub(crate) struct Schema(String);

impl Schema {
    /// Takes a plain name, so that it needs no more than quotes.
    pub(crate) fn new(name: &str) -> Result<Self, StoreError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        let begins = |c: char| c.is_ascii_lowercase() || c == '_';
        if name.starts_with("pg_") {
            return Err(not_ours(
                "database schema: names that begin with pg_ are PostgreSQL's own",
            ));
        }
        if (1..=LONGEST).contains(&name.len())
            && name.starts_with(begins)
            && name.chars().all(plain)
        {
            Ok(Self(name.to_owned()))
        } else {
            Err(not_ours(format!(
                "database schema: expected 1 to {LONGEST} lowercase letters, digits or underscores",
            )))
        }
    }

    /// Puts the schema's name into a statement, which says `keywheel.`.
    pub(crate) fn sql(&self, statement: &str) -> String {
        // It may be a word of the language.
        statement
            .replace("keywheel.", &format!("\"{}\".", self.0))
            .replace("'keywheel_due'", &format!("'{}'", self.channel()))
    }

    /// Returns on which channel replicas tell each other that something fell due.
    pub(crate) fn channel(&self) -> String {
        format!("{}{DUE}", self.0)
    }

    /// Brings the tables up to date. One replica does it while others wait.
    pub(crate) async fn migrate(&self, link: &Link) -> Result<(), Fault> {
        let until = Instant::now() + PATIENCE;
        while self.version(link).await? != VERSION {
            // Simple statements only: through PgBouncer, a transaction is all that stays on one connection.
            link.batch("BEGIN").await?;
            match self.migrate_in_transaction(link).await {
                Ok(true) => link.batch("COMMIT").await?,
                Ok(false) => {
                    link.batch("ROLLBACK").await?;
                    if Instant::now() > until {
                        return Err(too_slow().into());
                    }
                    sleep(PAUSE).await;
                }
                Err(fault) => {
                    drop(link.batch("ROLLBACK").await);
                    return Err(fault);
                }
            }
        }
        Ok(())
    }

    /// Returns `false` when another replica is at it. It is not waited for here: a server that keeps silent
    /// could not be told from one that is busy.
    async fn migrate_in_transaction(&self, link: &Link) -> Result<bool, Fault> {
        let lock = format!(
            "SELECT 1 WHERE pg_try_advisory_xact_lock({LOCK}, hashtext('{}'))",
            self.0
        );
        if rows(link, &lock).await? == 0 {
            return Ok(false);
        }
        let found = self.version(link).await?;
        if found == 0 {
            // An administrator may have made the schema, and given it to a user who may make no other.
            let exists = format!("SELECT 1 FROM pg_namespace WHERE nspname = '{}'", self.0);
            if rows(link, &exists).await? == 0 {
                let create = format!("CREATE SCHEMA \"{}\"", self.0);
                link.batch(&create).await?;
            }
            let create = "CREATE TABLE keywheel.migration (
                version int PRIMARY KEY, migrated_at timestamptz NOT NULL DEFAULT now())";
            link.batch(&self.sql(create)).await?;
        }
        for (version, migration) in (1..).zip(MIGRATIONS).skip(found) {
            link.batch_within(PATIENCE, &self.sql(migration)).await?;
            let note = format!("INSERT INTO keywheel.migration (version) VALUES ({version})");
            link.batch(&self.sql(&note)).await?;
        }
        Ok(true)
    }

    /// Returns how many migrations were made.
    async fn version(&self, link: &Link) -> Result<usize, Fault> {
        let tables = format!(
            "SELECT 1 FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
             WHERE nspname = '{}' AND relkind = 'r'",
            self.0
        );
        if rows(link, &tables).await? == 0 {
            return Ok(0);
        }
        let ours = format!("{tables} AND relname = 'migration'");
        if rows(link, &ours).await? == 0 {
            return Err(not_ours(format!(
                "database schema {}: it holds tables that are not keywheel's, and was left as it is; \
                 choose another schema",
                self.0
            ))
            .into());
        }
        let version = rows(link, &self.sql("SELECT 1 FROM keywheel.migration")).await?;
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

async fn rows(link: &Link, sql: &str) -> Result<usize, Fault> {
    Ok(link.run(sql, &[], Ok).await?.len())
}

/// How long tables may take to be brought up to date, here or by another replica: some day maybe with ten
/// million rows in them.
const PATIENCE: Duration = Duration::from_mins(10);

/// Between two looks whether another replica is done.
const PAUSE: Duration = Duration::from_millis(50);

/// What the schema's name becomes a channel's by.
const DUE: &str = "_due";

/// PostgreSQL cuts longer names off after 63 bytes, and refuses to notify a channel that has one.
const LONGEST: usize = 63 - DUE.len();

/// `kwhl`: the first half of the names of our advisory locks.
pub(crate) const LOCK: i32 = 0x6b77_686c;

const VERSION: usize = MIGRATIONS.len();

/// From nothing to today. Only ever add to the end: databases of every earlier version are about.
const MIGRATIONS: [&str; 5] = [
    include_str!("schema/v1.sql"),
    include_str!("schema/v2.sql"),
    include_str!("schema/v3.sql"),
    include_str!("schema/v4.sql"),
    include_str!("schema/v5.sql"),
];
