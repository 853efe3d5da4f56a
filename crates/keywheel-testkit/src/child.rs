use std::fmt::Display;
use std::io::{BufRead, BufReader, Write, stdin, stdout};
use std::process::{Child as Process, ChildStdout, Command, Stdio};

use tempfile::TempDir;

/// Another process: one test of this test program, run by itself.
///
/// The test is marked `#[ignore]`, so that it runs nowhere else. It finds what it is to work on with
/// [`argument`](Self::argument), and talks with who started it line by line. It is killed when this value is
/// dropped.
#[derive(Debug)]
pub struct Child {
    process: Process,
    lines: BufReader<ChildStdout>,
    /// Where its disk is mounted. Who removes that directory would take the disk away.
    disk: Option<TempDir>,
}

impl Child {
    /// Starts the test of that full name.
    ///
    /// # Panics
    ///
    /// Panics when it can't be started.
    #[must_use]
    pub fn start(test: &str, argument: &str) -> Self {
        Self::spawn(Command::new(this_program()), test, argument)
    }

    /// Starts the test of that full name as an ordinary user who has a disk of so many megabytes, and nobody
    /// else has. Its argument is the path of that disk.
    ///
    /// # Panics
    ///
    /// Panics when it can't be started.
    #[must_use]
    pub fn start_on_small_disk(test: &str, megabytes: u32) -> Self {
        let disk = tempfile::tempdir().expect("a temporary directory");
        let mut command = Command::new("unshare");
        // The mount is seen by this process alone and goes with it; the second `unshare` takes root's powers
        // away again, those over read-only files among them.
        let script = r#"mount -t tmpfs -o "size=$1m,mode=700" disk "$2" && shift 2 &&
            exec unshare --user --map-user=1000 --map-group=1000 "$@""#;
        command.args([
            "--user",
            "--map-root-user",
            "--mount",
            "sh",
            "-c",
            script,
            "sh",
        ]);
        command.arg(megabytes.to_string()).arg(disk.path());
        command.arg(this_program());
        let path = disk.path().to_owned();
        let mut child = Self::spawn(command, test, &path.to_string_lossy());
        child.disk = Some(disk);
        // Once it talks, the mount is there and keeps the directory's name.
        assert_eq!(
            child.line().as_deref(),
            Some(STARTED),
            "a disk of its own needs user namespaces: sysctl kernel.unprivileged_userns_clone=1, and \
             `apt-get install util-linux mount`"
        );
        child
    }

    fn spawn(mut command: Command, test: &str, argument: &str) -> Self {
        command.args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ]);
        command.env(ARGUMENT, argument);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().expect("this program starts again");
        let lines = BufReader::new(process.stdout.take().expect("it was piped"));
        Self {
            process,
            lines,
            disk: None,
        }
    }

    /// Waits for the next line that the child reports; `None` when it has ended.
    ///
    /// # Panics
    ///
    /// Panics when its output is no text.
    pub fn line(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).expect("text") == 0 {
                return None;
            }
            // What is cut off was not reported; the rest is the test program's own talk.
            if let Some(line) = line.strip_prefix(MARK)
                && let Some(line) = line.strip_suffix('\n')
            {
                return Some(line.to_owned());
            }
        }
    }

    /// Says a line to the child.
    ///
    /// # Panics
    ///
    /// Panics when it has ended.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.process.stdin.as_mut().expect("it was piped");
        writeln!(stdin, "{line}").expect("the child listens");
    }

    /// Sends the child a signal, as in `STOP`.
    ///
    /// # Panics
    ///
    /// Panics when there is no `kill`.
    pub fn signal(&self, name: &str) {
        let id = self.process.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.is_ok_and(|status| status.success()), "kill -s {name}");
    }

    /// Returns the child's process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// Waits for the child's end and returns what else it reported.
    ///
    /// # Panics
    ///
    /// Panics when its test failed.
    #[must_use]
    pub fn finish(mut self) -> Vec<String> {
        drop(self.process.stdin.take());
        let rest = std::iter::from_fn(|| self.line()).collect();
        let status = self.process.wait().expect("it is ours");
        assert!(status.success(), "the child failed: {status}, {rest:?}");
        rest
    }

    /// In the child: returns what it was started with.
    ///
    /// # Panics
    ///
    /// Panics in a process that no [`Child`] started.
    #[must_use]
    pub fn argument() -> String {
        let argument = std::env::var(ARGUMENT);
        argument.expect("this test is one process of another test, which starts it")
    }

    /// In the child: reports a line.
    ///
    /// # Panics
    ///
    /// Panics when nobody listens.
    pub fn report(line: impl Display) {
        let mut stdout = stdout().lock();
        let line = format!("\n{MARK}{line}\n");
        stdout.write_all(line.as_bytes()).expect("somebody listens");
        stdout.flush().expect("somebody listens");
    }

    /// In the child: reports that it has started on a disk of its own.
    pub fn started() {
        Self::report(STARTED);
    }

    /// In the child: waits for what it is told.
    ///
    /// # Panics
    ///
    /// Panics when it is told no text.
    #[must_use]
    pub fn told() -> String {
        let mut line = String::new();
        stdin().read_line(&mut line).expect("text");
        line.trim().to_owned()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().expect("a program knows its path")
}

const ARGUMENT: &str = "KEYWHEEL_CHILD";
const MARK: &str = "@@ ";
const STARTED: &str = "started";
