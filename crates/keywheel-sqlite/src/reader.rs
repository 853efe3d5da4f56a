use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use keywheel_connection::StoreError;
use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::error::{closed, failed, is_refusal};
use crate::writer::Opening;

/// The threads that read, each with a connection of its own.
#[derive(Debug)]
pub(crate) struct Readers {
    queue: Sender<Job>,
    threads: usize,
}

enum Job {
    Close(oneshot::Sender<()>),
    Read(Box<dyn FnOnce(&mut Reader) + Send>),
}

struct Reader {
    opening: Arc<Opening>,
    connection: Option<Connection>,
}

impl Readers {
    pub(crate) fn start(opening: &Arc<Opening>) -> Self {
        let (queue, jobs) = channel();
        let jobs = Arc::new(Mutex::new(jobs));
        let threads = thread::available_parallelism().map_or(1, |n| n.get().min(MOST));
        for _ in 0..threads {
            let jobs = jobs.clone();
            let reader = Reader {
                opening: opening.clone(),
                connection: None,
            };
            thread::spawn(move || reader.run(&jobs));
        }
        Self { queue, threads }
    }

    /// Runs `read` on one of the threads.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = move |reader: &mut Reader| drop(reply.send(reader.read(read)));
        self.queue
            .send(Job::Read(Box::new(job)))
            .map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }

    pub(crate) async fn close(&self) {
        for _ in 0..self.threads {
            let (done, closed) = oneshot::channel();
            if self.queue.send(Job::Close(done)).is_ok() {
                drop(closed.await);
            }
        }
    }
}

impl Reader {
    fn run(mut self, jobs: &Mutex<Receiver<Job>>) {
        loop {
            let job = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            match job {
                Ok(Job::Read(job)) => job(&mut self),
                Ok(Job::Close(done)) => {
                    drop(self.connection);
                    drop(done);
                    return;
                }
                Err(_) => return,
            }
        }
    }

    fn read<T>(
        &mut self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.opening.reader()?,
        };
        match read(&connection) {
            Ok(read) => {
                self.connection = Some(connection);
                Ok(read)
            }
            Err(error) => {
                // After a fault of the file, a new connection may do better.
                self.connection = Some(connection).filter(|_| is_refusal(&error));
                Err(failed(error))
            }
        }
    }
}

/// More would not read faster from one disk.
const MOST: usize = 4;
