use std::collections::HashSet;
use std::sync::Arc;

use keywheel_connection::{StoreError, Version};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};

use crate::change::Change;
use crate::database::Database;
use crate::error::{again, closed};

/// A few tasks that save: what arrives while they wait for the server goes into one statement together.
#[derive(Debug)]
pub(crate) struct Writers {
    queue: UnboundedSender<Job>,
}

#[derive(Debug)]
struct Job {
    change: Change,
    reply: oneshot::Sender<Result<Version, StoreError>>,
}

impl Writers {
    /// Starts the tasks on the present runtime. They end with this value.
    pub(crate) fn start(database: &Arc<Database>) -> Self {
        let (queue, jobs) = unbounded_channel();
        let jobs = Arc::new(Mutex::new(jobs));
        for _ in 0..WRITERS {
            tokio::spawn(run(database.clone(), jobs.clone()));
        }
        Self { queue }
    }

    pub(crate) async fn save(&self, change: Change) -> Result<Version, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { change, reply };
        self.queue.send(job).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

async fn run(database: Arc<Database>, jobs: Arc<Mutex<UnboundedReceiver<Job>>>) {
    loop {
        let mut batch = Vec::new();
        if jobs.lock().await.recv_many(&mut batch, BATCH).await == 0 {
            return;
        }
        while !batch.is_empty() {
            let rest = split_off_doubles(&mut batch);
            commit(&database, batch).await;
            batch = rest;
        }
    }
}

/// A statement changes a row once: what is for a connection that is in the batch already goes into the next.
fn split_off_doubles(batch: &mut Vec<Job>) -> Vec<Job> {
    let mut ids = HashSet::with_capacity(batch.len());
    let doubles = batch.extract_if(.., |job| !ids.insert(job.change.id));
    doubles.collect()
}

/// Saves all of a batch, or tells each why not.
async fn commit(database: &Database, batch: Vec<Job>) {
    let changes: Vec<_> = batch.iter().map(|job| &job.change).collect();
    match database.save(&changes).await {
        Ok(versions) => {
            for (job, version) in batch.into_iter().zip(versions) {
                let answer = match version {
                    Some(version) => Ok(version),
                    None => Err(match database.refusal(&job.change).await {
                        Ok(refusal) => refusal,
                        Err(fault) => fault.into(),
                    }),
                };
                drop(job.reply.send(answer));
            }
        }
        Err(fault) if fault.is_refusal() && batch.len() > 1 => {
            // One of them is at fault; the others are not to suffer from it.
            for job in batch {
                Box::pin(commit(database, vec![job])).await;
            }
        }
        Err(fault) => {
            let error = if fault.is_name_taken() {
                StoreError::name_taken()
            } else {
                fault.into()
            };
            let error = Arc::new(error);
            for job in batch {
                drop(job.reply.send(Err(again(&error))));
            }
        }
    }
}

/// One saves while the other collects.
const WRITERS: usize = 2;

/// How many saves share a statement at most.
const BATCH: usize = 256;
