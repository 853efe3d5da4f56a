use std::io;
use std::process::abort;
use std::sync::{Arc, Mutex, Once, PoisonError};

use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Everything that is logged on this thread at any level, to be searched for secrets.
#[derive(Clone, Debug, Default)]
pub struct CapturedLogs(Arc<Mutex<Vec<u8>>>);

impl CapturedLogs {
    /// Captures what this thread logs until the guard is dropped.
    #[must_use]
    pub fn capture() -> (Self, DefaultGuard) {
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

/// Returns what kind of secret is in a record, by how it looks: an Entra client secret has a digit and `Q~`
/// after three characters, a signed token begins with an object in base64url.
fn secret_in(record: &[u8]) -> Option<&'static str> {
    let has = |mark: &[u8]| record.windows(mark.len()).any(|at| at == mark);
    if has(b"Q~") || has(b"Q%7E") {
        return Some("a client secret");
    }
    (has(b"eyJ0") || has(b"eyJh")).then_some("a token")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_found_and_a_key_id_is_not() {
        assert!(secret_in(b"sent abc8Q~0123456789 to").is_some());
        assert!(secret_in(b"client_secret=abc8Q%7E01").is_some());
        assert!(secret_in(b"Bearer eyJ0eXAiOiJKV1QiLCJhbGciOiJSUzI1NiJ9.e30.c2ln").is_some());
        assert!(secret_in(b"key_id=0aff7e1c-2a5e-4e5b-9d7e-8f1d0d0c0b0a hint=abc").is_none());
    }
}
