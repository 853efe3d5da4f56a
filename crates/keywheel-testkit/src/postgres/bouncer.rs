use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use super::{PostgresServer, install};

/// A PgBouncer in front of a [`PostgresServer`] that pools transactions: two connections to the server for each
/// database, whatever the number of clients.
///
/// It is stopped when it is dropped, and also when the process that started it dies.
#[derive(Debug)]
pub struct PgBouncer {
    server: Arc<PostgresServer>,
    /// The port in the name of its socket.
    socket: u16,
    watchdog: Child,
}

impl PgBouncer {
    /// Starts it.
    ///
    /// # Panics
    ///
    /// Panics when there is no PgBouncer and none can be installed.
    #[must_use]
    pub fn before(server: &Arc<PostgresServer>) -> Self {
        let program = Path::new("/usr/sbin/pgbouncer");
        if !program.exists() && server.programs.user.is_some() {
            install("pgbouncer");
        }
        assert!(
            program.exists(),
            "PgBouncer is needed: run `apt-get install pgbouncer`"
        );
        static NEXT: AtomicU16 = AtomicU16::new(6432);
        let socket = NEXT.fetch_add(1, Ordering::Relaxed);
        let directory = server.directory();
        let settings = format!(
            "[databases]\n* = host={directory} port={port}\n[pgbouncer]\nlisten_port = {socket}\n\
             listen_addr =\nunix_socket_dir = {directory}\nauth_type = trust\n\
             auth_file = {directory}/users.{socket}\npool_mode = transaction\ndefault_pool_size = 2\n\
             max_client_conn = 500\nserver_idle_timeout = 5\n",
            directory = directory.display(),
            port = server.port,
        );
        let users = "\"postgres\" \"\"\n";
        let config = directory.join(format!("bouncer.{socket}"));
        let list = directory.join(format!("users.{socket}"));
        for (path, text) in [(&list, users), (&config, settings.as_str())] {
            fs::write(path, text).expect("there is room");
            server.programs.give(path);
        }
        let mut watchdog = server.command("sh");
        let script = r#""$1" -q "$2" & cat >/dev/null; kill $!; wait"#;
        watchdog.args(["-c", script, "sh"]).arg(program);
        watchdog.arg(config);
        watchdog
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0);
        let watchdog = watchdog.spawn().expect("there is a shell");
        let bouncer = Self {
            server: server.clone(),
            socket,
            watchdog,
        };
        bouncer.wait_until_it_answers();
        bouncer
    }

    fn wait_until_it_answers(&self) {
        for _ in 0..200 {
            let mut psql = self.server.programs.command("psql");
            psql.arg(self.url("postgres")).args(["-AtXc", "SELECT 1"]);
            if psql.output().is_ok_and(|output| output.status.success()) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("PgBouncer does not start");
    }

    /// Returns the URL of a database of the server, through the bouncer.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let directory = self
            .server
            .directory()
            .to_string_lossy()
            .replace('/', "%2F");
        format!("postgres://postgres@{directory}:{}/{database}", self.socket)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        drop(self.watchdog.wait());
    }
}
