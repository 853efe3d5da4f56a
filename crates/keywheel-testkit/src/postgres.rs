mod bouncer;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tempfile::TempDir;

pub use self::bouncer::PgBouncer;

/// A PostgreSQL server of our own: Debian's binaries, a cluster in a temporary directory, an ordinary user.
///
/// It is stopped and its directory removed when it is dropped, and also when the process that started it
/// dies.
#[derive(Debug)]
pub struct PostgresServer {
    programs: Programs,
    directory: TempDir,
    port: u16,
    /// Reads from us until we are gone, and then cleans up.
    watchdog: Child,
}

/// How a [`PostgresServer`] runs.
#[derive(Clone, Debug, Default)]
pub struct PostgresOptions {
    durable: bool,
    tcp: bool,
    settings: Vec<(String, String)>,
    files: Vec<(String, String)>,
}

impl PostgresOptions {
    /// Makes commits durable. Without it the server forgets them when the machine stops, and is faster.
    #[must_use]
    pub fn durable(mut self) -> Self {
        self.durable = true;
        self
    }

    /// Listens on a free port of the loopback address too.
    #[must_use]
    pub fn tcp(mut self) -> Self {
        self.tcp = true;
        self
    }

    /// Sets a parameter of the server.
    #[must_use]
    pub fn set(mut self, name: &str, value: impl ToString) -> Self {
        self.settings.push((name.to_owned(), value.to_string()));
        self
    }

    /// Encrypts, and lets nobody in over TCP who does not. Certificate and key are PEM.
    #[must_use]
    pub fn tls(mut self, certificate: &str, key: &str) -> Self {
        let hosts = "local all all trust\nhostssl all all 127.0.0.1/32 trust\nhostssl all all ::1/128 trust\n";
        let files = [
            ("server.crt", certificate),
            ("server.key", key),
            ("pg_hba.conf", hosts),
        ];
        let owned = |(name, text): (&str, &str)| (name.to_owned(), text.to_owned());
        self.files.extend(files.map(owned));
        self.tcp().set("ssl", "on")
    }

    /// Starts the server.
    ///
    /// # Panics
    ///
    /// Panics when there is no PostgreSQL and none can be installed.
    #[must_use]
    pub fn start(self) -> PostgresServer {
        PostgresServer::start(&self)
    }
}

/// The server that the tests of this process share while any of them runs.
static SHARED: Mutex<Weak<PostgresServer>> = Mutex::new(Weak::new());

impl PostgresServer {
    /// Returns the server that the tests of this process share: one that is quick and not durable.
    ///
    /// # Panics
    ///
    /// Panics when there is no PostgreSQL and none can be installed.
    #[must_use]
    pub fn shared() -> Arc<Self> {
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let server = Arc::new(PostgresOptions::default().start());
            *shared = Arc::downgrade(&server);
            server
        })
    }

    fn start(options: &PostgresOptions) -> Self {
        let programs = Programs::find();
        let directory = tempfile::Builder::new().prefix("keywheel-pg.").tempdir();
        let directory = directory.expect("a temporary directory");
        programs.give(directory.path());
        let port = if options.tcp { free_port() } else { 5432 };
        programs.initdb(directory.path());
        configure(directory.path(), options, port);
        for (name, text) in &options.files {
            let path = directory.path().join("data").join(name);
            // Only its owner may read a key, and that is the server.
            fs::write(&path, text).expect("there is room");
            fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).expect("it is ours");
            programs.give(&path);
        }
        let watchdog = programs.watch(directory.path());
        let server = Self {
            programs,
            directory,
            port,
            watchdog,
        };
        server.start_again();
        server
    }

    /// Starts a server that was stopped.
    ///
    /// # Panics
    ///
    /// Panics when it does not start.
    pub fn start_again(&self) {
        let log = self.directory.path().join("log");
        let mut start = self.pg_ctl();
        start.arg("-w").arg("-l").arg(&log).arg("start");
        // Its output would be kept open by the server.
        start.stdout(Stdio::null()).stderr(Stdio::null());
        let started = start.status().is_ok_and(|status| status.success());
        let log = fs::read_to_string(log).unwrap_or_default();
        assert!(started, "PostgreSQL does not start:\n{log}");
    }

    /// Stops the server as a crash does: what it had not written is lost.
    ///
    /// # Panics
    ///
    /// Panics when it does not stop.
    pub fn crash(&self) {
        run(self.pg_ctl().args(["-m", "immediate", "stop"]));
    }

    /// Makes an empty database on the server that the tests of this process share.
    ///
    /// # Panics
    ///
    /// Panics when there is no PostgreSQL and none can be installed.
    #[must_use]
    pub fn shared_database() -> TestDatabase {
        TestDatabase::on(&Self::shared())
    }

    /// Returns the URL of a database over the socket.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        let socket = self.directory.path().to_string_lossy().replace('/', "%2F");
        format!("postgres://postgres@{socket}:{}/{database}", self.port)
    }

    /// Returns the directory of the cluster, the socket and the log.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Returns the port, which is also part of the socket's name.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs SQL as the superuser and returns what it prints.
    ///
    /// # Panics
    ///
    /// Panics when the server refuses.
    #[expect(clippy::must_use_candidate, reason = "run for its effect too")]
    pub fn psql(&self, database: &str, sql: &str) -> String {
        let mut psql = self.client("psql", database);
        let output = run(psql.args(["-AtX", "-v", "ON_ERROR_STOP=1", "-c", sql]));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Returns everything in a database as SQL.
    ///
    /// # Panics
    ///
    /// Panics when the server refuses.
    #[must_use]
    pub fn dump(&self, database: &str) -> String {
        let output = run(self
            .client("pg_dump", database)
            .args(["--inserts", "--no-owner"]));
        let dump = String::from_utf8_lossy(&output.stdout);
        // The newest versions say these two to psql, each time with another word.
        let sql = dump
            .lines()
            .filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
        sql.map(|line| format!("{line}\n")).collect()
    }

    /// Returns a command that runs as the server's user, who is never root.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        self.programs.as_user(Command::new(program))
    }

    fn client(&self, program: &str, database: &str) -> Command {
        let mut client = self.programs.command(program);
        client.arg("-h").arg(self.directory.path());
        client.arg("-p").arg(self.port.to_string());
        client.args(["-U", "postgres", "-d", database]);
        client
    }

    fn pg_ctl(&self) -> Command {
        let mut pg_ctl = self.programs.command("pg_ctl");
        pg_ctl.arg("-D").arg(self.directory.path().join("data"));
        pg_ctl
    }
}

/// A database of its own on a [`PostgresServer`].
#[derive(Debug)]
pub struct TestDatabase {
    server: Arc<PostgresServer>,
    name: String,
}

impl TestDatabase {
    /// Makes an empty database.
    ///
    /// # Panics
    ///
    /// Panics when the server refuses.
    #[must_use]
    pub fn on(server: &Arc<PostgresServer>) -> Self {
        Self::like(server, "template1")
    }

    /// Makes a database that holds the same, about which no statistics are known. Nobody may be connected to
    /// this one.
    ///
    /// # Panics
    ///
    /// Panics when the server refuses.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self::like(&self.server, &self.name)
    }

    fn like(server: &Arc<PostgresServer>, template: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let create = format!("CREATE DATABASE {name} TEMPLATE {template}");
        server.psql("postgres", &create);
        Self {
            server: server.clone(),
            name,
        }
    }

    /// Returns its URL, by which every user is let in over the socket.
    #[must_use]
    pub fn url(&self) -> String {
        self.server.url(&self.name)
    }

    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the server.
    #[must_use]
    pub fn server(&self) -> &Arc<PostgresServer> {
        &self.server
    }

    /// Runs SQL as the superuser and returns what it prints.
    ///
    /// # Panics
    ///
    /// Panics when the server refuses.
    #[expect(clippy::must_use_candidate, reason = "run for its effect too")]
    pub fn psql(&self, sql: &str) -> String {
        self.server.psql(&self.name, sql)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        // The watchdog sees that we are gone.
        drop(self.watchdog.stdin.take());
        drop(self.watchdog.wait());
    }
}

/// Where PostgreSQL is, and who runs it.
#[derive(Clone, Debug)]
struct Programs {
    directory: PathBuf,
    /// `nobody`, when we are root: the server refuses to run as root.
    user: Option<u32>,
}

impl Programs {
    fn find() -> Self {
        let root = fs::metadata("/proc/self")
            .is_ok_and(|process| std::os::unix::fs::MetadataExt::uid(&process) == 0);
        let found = installed().or_else(|| {
            if root {
                install("postgresql");
            }
            installed()
        });
        let directory = found.expect(
            "PostgreSQL 13 or later is needed: run `apt-get install postgresql`, or set PG_BIN to the \
             directory of initdb",
        );
        Self {
            directory,
            user: root.then_some(NOBODY),
        }
    }

    fn command(&self, program: &str) -> Command {
        self.as_user(Command::new(self.directory.join(program)))
    }

    fn as_user(&self, mut command: Command) -> Command {
        if let Some(user) = self.user {
            command.uid(user).gid(user);
        }
        command.current_dir("/");
        command
    }

    fn give(&self, path: &Path) {
        if let Some(user) = self.user {
            chown(path, Some(user), Some(user)).expect("root may give files away");
        }
    }

    fn initdb(&self, directory: &Path) {
        let mut initdb = self.command("initdb");
        initdb.args(["-U", "postgres", "-A", "trust", "-E", "UTF8"]);
        initdb.args(["--locale=C", "--no-sync", "-D"]);
        run(initdb.arg(directory.join("data")));
    }

    fn watch(&self, directory: &Path) -> Child {
        let mut watchdog = self.as_user(Command::new("sh"));
        let script =
            r#"cat >/dev/null; "$1" -D "$2/data" -m immediate stop >/dev/null 2>&1; rm -rf "$2""#;
        watchdog.args(["-c", script, "sh"]);
        watchdog.arg(self.directory.join("pg_ctl")).arg(directory);
        watchdog.stdin(Stdio::piped()).process_group(0);
        watchdog.spawn().expect("there is a shell")
    }
}

fn configure(directory: &Path, options: &PostgresOptions, port: u16) {
    let mut settings = vec![
        ("unix_socket_directories", directory.display().to_string()),
        ("port", port.to_string()),
        ("listen_addresses", String::new()),
        ("max_connections", "200".to_owned()),
    ];
    if options.tcp {
        settings.push(("listen_addresses", "127.0.0.1".to_owned()));
    }
    if !options.durable {
        let off = ["fsync", "synchronous_commit", "full_page_writes"];
        settings.extend(off.map(|name| (name, "off".to_owned())));
    }
    let given = options.settings.iter();
    settings.extend(given.map(|(name, value)| (name.as_str(), value.clone())));
    let file = directory.join("data/postgresql.conf");
    let mut file = fs::OpenOptions::new().append(true).open(file);
    let file = file
        .as_mut()
        .expect("root writes everywhere, others to what is theirs");
    for (name, value) in settings {
        writeln!(file, "{name} = '{value}'").expect("there is room");
    }
}

fn installed() -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = std::env::var_os("PG_BIN")
        .map(Into::into)
        .into_iter()
        .collect();
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten();
    let mut versions: Vec<PathBuf> = versions.flatten().map(|entry| entry.path()).collect();
    versions.sort_by_key(|path| path.file_name()?.to_str()?.parse::<u32>().ok());
    places.extend(versions.into_iter().rev().map(|path| path.join("bin")));
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path));
    places
        .into_iter()
        .find(|place| place.join("initdb").exists() && place.join("postgres").exists())
}

fn install(package: &str) {
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "--no-install-recommends", package]);
    run(install.env("DEBIAN_FRONTEND", "noninteractive"));
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}

/// Runs a command to its end.
#[track_caller]
fn run(command: &mut Command) -> Output {
    let output = command.output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

const NOBODY: u32 = 65_534;
