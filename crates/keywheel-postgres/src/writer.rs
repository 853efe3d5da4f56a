use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connection::{StoreError, Version};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use crate::change::Change;
use crate::company::Company;
use crate::database::Database;
use crate::error::{again, closed};
use crate::queue::Queue;

/// A task that saves: what arrives while it waits for the server goes into the next statement together.
///
/// One statement at a time, as the journal lets one transaction in at a time, until that is on the disk: two
/// half as big would take nearly twice as long. Only when a whole statement more waits does it go out beside,
/// and does what comes before the journal while the other is there.
#[derive(Debug)]
pub(crate) struct Writer {
    queue: Arc<Queue<Job>>,
}

#[derive(Debug)]
struct Job {
    change: Change,
    reply: oneshot::Sender<Result<Version, StoreError>>,
}

impl Writer {
    /// Starts the task on the present runtime. It ends with this value.
    pub(crate) fn start(database: &Arc<Database>) -> Self {
        let queue = Arc::new(Queue::new());
        tokio::spawn(run(database.clone(), Worker(queue.clone())));
        Self { queue }
    }

    pub(crate) async fn save(&self, change: Change) -> Result<Version, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job { change, reply };
        self.queue.push(job).map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(closed()))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.queue.close();
    }
}

/// The task's end of the queue.
#[derive(Debug)]
struct Worker(Arc<Queue<Job>>);

impl Drop for Worker {
    fn drop(&mut self) {
        // Also when the runtime ends: who waits for an answer is told so.
        self.0.close();
        drop(self.0.take(usize::MAX));
    }
}

async fn run(database: Arc<Database>, worker: Worker) {
    let queue = &*worker.0;
    let mut company = Company::default();
    let mut beside = None;
    loop {
        queue.wait_for(1).await;
        company.gather(queue).await;
        let batch = queue.take(BATCH);
        if batch.is_empty() {
            return;
        }
        let (begun, count) = (Instant::now(), batch.len());
        let mut saving = Box::pin(save_all(database.clone(), batch));
        match timeout(patience(queue.len()), &mut saving).await {
            Ok(answers) => {
                company.expect(queue.len() + count, begun.elapsed());
                send(answers);
            }
            Err(_) => {
                // What it waits for is not to hold up the others, unless they wait for the same.
                let saved = tokio::spawn(async { send(saving.await) });
                if let Some(earlier) = beside.replace(saved) {
                    drop(earlier.await);
                }
            }
        }
    }
}

/// Returns how long a statement is waited for before the next one goes out beside it, when so many saves wait.
fn patience(waiting: usize) -> Duration {
    if waiting < BATCH {
        SLOW
    } else {
        Duration::ZERO
    }
}

type Answer = (
    oneshot::Sender<Result<Version, StoreError>>,
    Result<Version, StoreError>,
);

fn send(answers: Vec<Answer>) {
    for (reply, answer) in answers {
        drop(reply.send(answer));
    }
}

async fn save_all(database: Arc<Database>, mut batch: Vec<Job>) -> Vec<Answer> {
    let mut answers = Vec::with_capacity(batch.len());
    while !batch.is_empty() {
        let rest = split_off_doubles(&mut batch);
        commit(&database, batch, &mut answers).await;
        batch = rest;
    }
    answers
}

/// A statement changes a row once: what is for a connection that is in the batch already goes into the next.
fn split_off_doubles(batch: &mut Vec<Job>) -> Vec<Job> {
    let mut ids = HashSet::with_capacity(batch.len());
    let doubles = batch.extract_if(.., |job| !ids.insert(job.change.id));
    doubles.collect()
}

/// Saves all of a batch, or says to each why not.
async fn commit(database: &Database, batch: Vec<Job>, answers: &mut Vec<Answer>) {
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
                answers.push((job.reply, answer));
            }
        }
        Err(fault) if fault.is_refusal() && batch.len() > 1 => {
            // One of them is at fault; the others are not to suffer from it.
            for job in batch {
                Box::pin(commit(database, vec![job], answers)).await;
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
                answers.push((job.reply, Err(again(&error))));
            }
        }
    }
}

/// After how long the next statement goes out beside one that was not answered.
const SLOW: Duration = Duration::from_millis(100);

/// How many saves share a statement at most.
pub(crate) const BATCH: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_statement_goes_out_beside_another_one() {
        assert_eq!(patience(0), SLOW);
        assert_eq!(patience(BATCH - 1), SLOW);
        assert_eq!(patience(BATCH), Duration::ZERO);
    }
}
