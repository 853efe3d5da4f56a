use std::fmt;
use std::fs::metadata;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Duration;

use keywheel_connection::{StoreError, StoreErrorKind};
use keywheel_core::Clock;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};
use tokio::sync::{Notify, oneshot};

use crate::error::{closed, failed, is_refusal, read_only};
use crate::row::micros;
use crate::write::{Fault, Write, Writing};
use crate::{file, schema};

/// What is needed to open the file, now and again after a fault.
pub(crate) struct Opening {
    pub(crate) path: PathBuf,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) busy_timeout: Duration,
}

impl Opening {
    fn writer(&self) -> Result<Connection, StoreError> {
        file::prepare(&self.path)?;
        let mut connection = self.connect()?;
        connection
            .execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -16000;")
            .map_err(failed)?;
        schema::migrate(&mut connection, &self.path)?;
        // Only now: the marks of a new file must be in the file itself, not in its log.
        let mode = self.share(&connection).map_err(failed)?;
        if mode == "wal" {
            // From now on it is waited here.
            connection.busy_timeout(Duration::ZERO).map_err(failed)?;
            Ok(connection)
        } else {
            Err(StoreError::new(
                StoreErrorKind::NotOurs,
                "database: this file system can't share memory between processes; use a local disk",
            ))
        }
    }

    /// Turns the write-ahead log on, and returns the journal mode.
    fn share(&self, connection: &Connection) -> rusqlite::Result<String> {
        self.wait(|| connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)))
    }

    /// Begins to write, once nobody else does.
    fn begin<'a>(&self, connection: &'a Connection) -> rusqlite::Result<Transaction<'a>> {
        self.wait(|| Transaction::new_unchecked(connection, TransactionBehavior::Immediate))
    }

    /// Tries again while others are in the way. SQLite itself does not where the journal mode is changed, since
    /// two who change it could wait for each other; and it waits longer each time, up to a tenth of a second, so
    /// that whoever writes all the time is hardly ever interrupted by another process.
    fn wait<T>(&self, mut attempt: impl FnMut() -> rusqlite::Result<T>) -> rusqlite::Result<T> {
        let mut left = self.busy_timeout.as_millis() / BUSY_PAUSE.as_millis();
        loop {
            let result = attempt();
            if left == 0 || !result.as_ref().is_err_and(is_busy) {
                return result;
            }
            left -= 1;
            thread::sleep(BUSY_PAUSE);
        }
    }

    /// Opens the file for a thread that reads.
    pub(crate) fn reader(&self) -> Result<Connection, StoreError> {
        let connection = self.connect()?;
        connection
            .execute_batch("PRAGMA query_only = ON;")
            .map_err(failed)?;
        Ok(connection)
    }

    pub(crate) fn connect(&self) -> Result<Connection, StoreError> {
        // SQLite would open it to be read, and make a log that can't be written either: not by us when the file
        // can be again, nor by whoever comes after.
        if metadata(&self.path).is_ok_and(|file| file.permissions().readonly()) {
            return Err(read_only());
        }
        self.connect_to_writable().map_err(failed)
    }

    fn connect_to_writable(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(&self.path, flags)?;
        connection.busy_timeout(self.busy_timeout)?;
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        // Or else SQLite looks at what is bound and plans most statements anew at each use, which took a fifth of a
        // save's time: <https://www.sqlite.org/queryplanner-ng.html#qpstab>.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(connection)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

/// How long to wait before the next attempt: about as long as a commit takes.
const BUSY_PAUSE: Duration = Duration::from_millis(1);

fn is_busy(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::DatabaseBusy)
}

/// The one thread that writes: what arrives while it commits shares the next commit.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Sender<Job>,
}

enum Job {
    Close(oneshot::Sender<()>),
    Write(Box<dyn Pending>),
}

impl Writer {
    /// Opens the file on a new thread.
    pub(crate) async fn start(opening: Arc<Opening>, due: Arc<Notify>) -> Result<Self, StoreError> {
        let (queue, jobs) = channel();
        let (opened, result) = oneshot::channel();
        thread::spawn(move || {
            let mut thread = Thread {
                opening,
                due,
                connection: None,
                latest: i64::MAX,
            };
            let ready = thread.open();
            let failed = ready.is_err();
            if opened.send(ready).is_ok() && !failed {
                thread.run(&jobs);
            }
        });
        result.await.unwrap_or_else(|_| Err(closed()))?;
        Ok(Self { queue })
    }

    /// Carries `write` out and commits it, together with others'. It is on its way before this is awaited.
    pub(crate) fn write<W: Write>(
        &self,
        write: W,
    ) -> impl Future<Output = Result<W::Output, StoreError>> + use<W> {
        let (reply, answer) = oneshot::channel();
        let task = Task {
            write,
            outcome: None,
            reply,
        };
        // Where the thread has ended, the reply is dropped with the task.
        drop(self.queue.send(Job::Write(Box::new(task))));
        async { answer.await.unwrap_or_else(|_| Err(closed())) }
    }

    pub(crate) async fn close(&self) {
        let (done, closed) = oneshot::channel();
        if self.queue.send(Job::Close(done)).is_ok() {
            drop(closed.await);
        }
    }
}

struct Thread {
    opening: Arc<Opening>,
    due: Arc<Notify>,
    connection: Option<Connection>,
    /// The latest time that the clock has shown.
    latest: i64,
}

impl Thread {
    fn run(mut self, jobs: &Receiver<Job>) {
        // How many writes shared the last commit: about as many are on their way.
        let mut crowd = 1;
        while let Some(first) = wait(jobs) {
            let (batch, close) = collect(jobs, first, crowd);
            crowd = batch.len();
            self.commit(batch);
            if let Some(done) = close {
                drop(self.connection);
                drop(done);
                return;
            }
        }
    }

    /// Commits all of a batch, or tells each why not.
    fn commit(&mut self, mut batch: Vec<Box<dyn Pending>>) {
        // Nobody waits for what was dropped; a lease would be taken for nobody.
        batch.retain(|task| !task.is_dropped());
        match self.attempt(&mut batch) {
            Ok(()) => batch.into_iter().for_each(|task| task.reply(None)),
            Err(Fault::Failed(error)) if is_refusal(&error) && batch.len() > 1 => {
                // One of them is at fault; the others are not to suffer from it.
                for task in batch {
                    self.commit(vec![task]);
                }
            }
            Err(fault) => {
                let error = Arc::new(fault.into_error());
                batch
                    .into_iter()
                    .for_each(|task| task.reply(Some(error.clone())));
            }
        }
    }

    fn attempt(&mut self, batch: &mut [Box<dyn Pending>]) -> Result<(), Fault> {
        if batch.is_empty() {
            return Ok(());
        }
        if self.connection.is_none() {
            self.open()?;
        }
        let result = self.transact(batch);
        // After a fault of the file, a new connection may do better; not while somebody else writes.
        let faulty = |error| !is_refusal(error) && !is_busy(error);
        if result.as_ref().is_err_and(faulty) {
            self.connection = None;
        }
        Ok(result?)
    }

    fn transact(&mut self, batch: &mut [Box<dyn Pending>]) -> rusqlite::Result<()> {
        let connection = self.connection.as_ref().expect("opened before");
        let transaction = self.opening.begin(connection)?;
        // Only now: another process may have written while this one waited.
        let now = micros(self.opening.clock.now());
        let mut writing = Writing::new(&transaction, now);
        if now < self.latest.saturating_sub(STEP) {
            writing.end_leases_after(now.saturating_add(STEP))?;
        }
        for task in batch {
            task.apply(&mut writing)?;
        }
        let has_become_due = writing.has_become_due();
        transaction.commit()?;
        self.latest = now;
        if has_become_due {
            self.due.notify_one();
        }
        Ok(())
    }

    fn open(&mut self) -> Result<(), StoreError> {
        self.connection = Some(self.opening.writer()?);
        Ok(())
    }
}

/// Waits for a write. Whoever was just answered is often back at once: to fall asleep and be woken for it would take
/// longer than to look.
fn wait(jobs: &Receiver<Job>) -> Option<Job> {
    for _ in 0..LOOKS {
        match jobs.try_recv() {
            Err(TryRecvError::Empty) => thread::yield_now(),
            result => return result.ok(),
        }
    }
    jobs.recv().ok()
}

/// Collects what shares a commit: what has arrived, and while fewer than the `crowd` of the last commit have,
/// what comes at once. Those callers were answered together and the first of them is back already; without the
/// others it would have a commit for itself, and they the next one. Who writes alone never waits.
fn collect(
    jobs: &Receiver<Job>,
    first: Job,
    crowd: usize,
) -> (Vec<Box<dyn Pending>>, Option<oneshot::Sender<()>>) {
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(job) = next {
        match job {
            Job::Close(done) => return (batch, Some(done)),
            Job::Write(task) => batch.push(task),
        }
        next = match batch.len() {
            BATCH.. => None,
            length if length < crowd => jobs.recv_timeout(COMING).ok(),
            _ => jobs.try_recv().ok(),
        };
    }
    (batch, None)
}

/// A write whose caller waits.
trait Pending: Send {
    fn apply(&mut self, writing: &mut Writing<'_>) -> rusqlite::Result<()>;
    fn is_dropped(&self) -> bool;
    fn reply(self: Box<Self>, failed: Option<Arc<StoreError>>);
}

struct Task<W: Write> {
    write: W,
    outcome: Option<Result<W::Output, StoreError>>,
    reply: oneshot::Sender<Result<W::Output, StoreError>>,
}

impl<W: Write> Pending for Task<W> {
    fn apply(&mut self, writing: &mut Writing<'_>) -> rusqlite::Result<()> {
        self.outcome = Some(match self.write.apply(writing) {
            Ok(output) => Ok(output),
            Err(Fault::Refused(error)) => Err(error),
            Err(Fault::Failed(error)) => return Err(error),
        });
        Ok(())
    }

    fn is_dropped(&self) -> bool {
        self.reply.is_closed()
    }

    fn reply(self: Box<Self>, failed: Option<Arc<StoreError>>) {
        let answer = match failed {
            Some(error) => Err(StoreError::new(error.kind(), error.to_string()).with_source(error)),
            None => self.outcome.unwrap_or_else(|| Err(closed())),
        };
        drop(self.reply.send(answer));
    }
}

/// How many writes share a commit at most: what a second of waiting is worth.
const BATCH: usize = 512;

/// How long the next one of a crowd may take to come: less than a commit takes.
const COMING: Duration = Duration::from_micros(500);

/// How often the thread looks for the next write before it sleeps: for about a tenth of a millisecond where nobody else needs the
/// processor, about as long as it takes to wake two threads.
const LOOKS: usize = 400;

/// How far the clock may be set back without a look at the leases: they last that much longer.
const STEP: i64 = 1_000_000;

/// More than there are different statements.
const STATEMENTS: usize = 64;

#[cfg(test)]
mod tests {
    use keywheel_core::SystemClock;
    use rusqlite::StatementStatus;
    use tempfile::TempDir;

    use super::*;

    fn opening(directory: &TempDir) -> Opening {
        Opening {
            path: directory.path().join("keywheel.db"),
            clock: Arc::new(SystemClock::new()),
            busy_timeout: Duration::from_secs(5),
        }
    }

    #[test]
    fn acknowledged_is_on_the_disk() {
        let directory = tempfile::tempdir().unwrap();

        let writer = opening(&directory).writer().unwrap();

        let mode = writer.pragma_query_value(None, "journal_mode", |row| row.get(0));
        assert_eq!(mode, Ok("wal".to_owned()));
        // 2 is FULL: <https://www.sqlite.org/pragma.html#pragma_synchronous>.
        let synchronous = writer.pragma_query_value(None, "synchronous", |row| row.get(0));
        assert_eq!(synchronous, Ok(2));
    }

    #[test]
    fn a_statement_is_planned_once_whatever_is_bound_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let connection = opening(&directory).writer().unwrap();
        let sql = "SELECT fence FROM connection JOIN due USING (row) WHERE id = ?1 LIMIT ?2";
        let mut statement = connection.prepare(sql).unwrap();

        for n in 1..10_i64 {
            assert!(!statement.exists([n, n]).unwrap());
            statement.clear_bindings();
        }

        assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
    }
}
