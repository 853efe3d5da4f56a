use std::io;
use std::process::abort;
use std::sync::{Arc, LazyLock, Mutex, Once, PoisonError};

use memchr::memmem;
use tracing::Dispatch;
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing_subscriber::fmt::MakeWriter;

/// Everything that is logged on this thread at any level, to be searched for secrets.
#[derive(Clone, Debug, Default)]
pub struct CapturedLogs(Arc<Mutex<Vec<u8>>>);

impl CapturedLogs {
    /// Captures what this thread logs until the guard is dropped.
    #[must_use]
    pub fn capture() -> (Self, DefaultGuard) {
        /// With one dispatcher alone, tracing asks the thread that comes first to a place in the code, which
        /// may be one that logs nowhere, and believes it for all.
        static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::new()));
        LazyLock::force(&SECOND);
        let logs = Self::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(logs.clone())
            .finish();
        (logs, tracing::subscriber::set_default(subscriber))
    }

    /// Returns what was logged.
    #[must_use]
    pub fn text(&self) -> String {
        let bytes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl io::Write for CapturedLogs {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut logs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        logs.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for CapturedLogs {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

/// Watches all that this process logs, at any level, for the rest of its life: it is aborted when a client
/// secret or a token is among it.
///
/// For the start of every suite that has real-looking secrets at hand. A thread that
/// [captures](CapturedLogs::capture) its logs is not watched meanwhile.
pub fn watch_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| Watched)
            .finish();
        // A suite that has one of its own looks at its log itself.
        drop(tracing::subscriber::set_global_default(subscriber));
    });
}

/// Gets one record at a time.
struct Watched;

impl io::Write for Watched {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        if let Some(what) = secret_in(record) {
            let text = String::from_utf8_lossy(record);
            #[expect(clippy::print_stderr, reason = "the last words of the process")]
            {
                eprintln!("{what} reached the log: {text}");
            }
            abort();
        }
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What gives a secret away, and what kind it is of: an Entra client secret has a digit and `Q~` after three
/// characters, a signed token begins with an object in base64url.
const MARKS: [(&[u8], &str); 5] = [
    (b"Q~", "a client secret"),
    (b"Q%7E", "a client secret"),
    (b"eyJ0", "a token"),
    (b"eyJh", "a token"),
    (b"PRIVATE KEY-----", "a private key"),
];

/// Returns what kind of secret is in a record, by how it looks.
#[must_use]
pub fn secret_in(record: &[u8]) -> Option<&'static str> {
    let mut marks = MARKS.into_iter();
    let marked = marks.find(|(mark, _)| memmem::find(record, mark).is_some());
    if let Some((_, what)) = marked {
        return Some(what);
    }
    // Its bare prefix stands in messages that say how one looks.
    let webhook = |at: usize| opaque(&record[at + 6..]) >= 16;
    if memmem::find_iter(record, b"whsec_").any(webhook) {
        return Some("the key of a webhook");
    }
    // Entra's begin with a version and a dot, and are longer than any digest.
    let refresh =
        |at: usize| at > 0 && b"01".contains(&record[at - 1]) && opaque(&record[at + 1..]) > 128;
    memchr::memchr_iter(b'.', record)
        .any(refresh)
        .then_some("a refresh token")
}

/// How many characters of base64, of either alphabet, come first.
fn opaque(text: &[u8]) -> usize {
    let is_base64 = |byte: &&u8| byte.is_ascii_alphanumeric() || b"+/-_".contains(*byte);
    text.iter().take_while(is_base64).count()
}
