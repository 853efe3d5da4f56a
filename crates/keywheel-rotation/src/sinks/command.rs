use std::ffi::OsString;
use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use keywheel_connection::{NewSecret, SecretSink, SinkError};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio::time::timeout;

/// Runs a command for each new secret, which it reads from its standard input.
///
/// Never from an argument or the environment, where other processes see it. The environment says what it
/// is the secret of: `KEYWHEEL_NAMESPACE`, `KEYWHEEL_CONNECTION`, `KEYWHEEL_TENANT_ID`,
/// `KEYWHEEL_CLIENT_ID`, `KEYWHEEL_GENERATION`, and where known `KEYWHEEL_KEY_ID` and `KEYWHEEL_END`
/// (RFC 3339).
///
/// Exit status 0 means that it has the secret. Anything else is a failure, and so is taking longer than
/// the [limit](Self::limit), after which it is killed. What it prints is thrown away, since that may hold
/// the secret.
pub struct CommandSink {
    name: String,
    program: OsString,
    arguments: Vec<OsString>,
    limit: Duration,
}

impl CommandSink {
    /// Returns a sink that runs `program`.
    #[must_use]
    pub fn new(name: impl Into<String>, program: impl Into<OsString>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            arguments: Vec::new(),
            limit: Duration::from_secs(60),
        }
    }

    /// Adds an argument.
    #[must_use]
    pub fn argument(mut self, argument: impl Into<OsString>) -> Self {
        self.arguments.push(argument.into());
        self
    }

    /// Sets how long it may take. Default: one minute.
    #[must_use]
    pub fn limit(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    fn command(&self, new: &NewSecret<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env("KEYWHEEL_NAMESPACE", new.connection.namespace.as_str())
            .env("KEYWHEEL_CONNECTION", new.connection.name.as_str())
            .env("KEYWHEEL_TENANT_ID", new.connection.tenant.to_string())
            .env("KEYWHEEL_CLIENT_ID", new.connection.client.to_string())
            .env("KEYWHEEL_GENERATION", new.generation.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        if let Some(key_id) = new.key_id {
            command.env("KEYWHEEL_KEY_ID", key_id.to_string());
        }
        if let Some(end) = new.end {
            command.env("KEYWHEEL_END", end.to_rfc3339());
        }
        command
    }

    async fn run(&self, new: &NewSecret<'_>) -> Result<(), SinkError> {
        let program = self.program.to_string_lossy();
        let failed = |what: &str| SinkError::new(format!("{program}: {what}"));
        let spawned = self.command(new).spawn();
        let mut child = spawned.map_err(|error| {
            failed("can't be started; is it there and executable?").with_source(error)
        })?;
        let written = match child.stdin.take() {
            // Dropped at the end of this arm, so that the command finds the end of its input.
            Some(mut stdin) => stdin.write_all(new.secret.expose().as_bytes()).await,
            None => Ok(()),
        };
        let status = child.wait().await;
        let status = status.map_err(|error| failed("can't be waited for").with_source(error))?;
        if !status.success() {
            return Err(failed(&format!(
                "{status}; its output is not kept, since it may hold the secret: run it by hand"
            )));
        }
        written.map_err(|error| failed("did not read the secret").with_source(error))
    }
}

#[async_trait]
impl SecretSink for CommandSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, new: &NewSecret<'_>) -> Result<(), SinkError> {
        match timeout(self.limit, self.run(new)).await {
            Ok(done) => done,
            Err(_) => Err(SinkError::new(format!(
                "{}: killed after {} seconds; give it a longer limit or look why it hangs",
                self.program.to_string_lossy(),
                self.limit.as_secs()
            ))),
        }
    }
}

/// Arguments may hold what is nobody's business.
impl fmt::Debug for CommandSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CommandSink")
            .field("name", &self.name)
            .field("program", &self.program)
            .finish_non_exhaustive()
    }
}
