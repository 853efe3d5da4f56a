//! Hand-written SQL on keywheel's tables: claims, and saves that share commits.

use std::path::Path;
use std::sync::Arc;

use keywheel_core::{Clock as _, SystemClock};
use rusqlite::{TransactionBehavior, params};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::{Mutex, oneshot};
use tokio_postgres::{Client, NoTls, Statement};
use uuid::Uuid;

const LEASE: i64 = 30_000_000;
const MONTH: i64 = 30 * 86_400_000_000;

/// One durable step of a rotation.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) id: Uuid,
    pub(crate) fence: i64,
    pub(crate) record: String,
    pub(crate) entries: Vec<Entry>,
    /// Whether it is the last one, which gives the lease back.
    pub(crate) last: bool,
}

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) seq: i64,
    pub(crate) body: String,
    pub(crate) digest: [u8; 32],
}

enum Job {
    /// Makes connections due.
    Request(Vec<Uuid>, oneshot::Sender<()>),
    Claim(u32, oneshot::Sender<Vec<(Uuid, i64)>>),
    Save(Step, oneshot::Sender<()>),
}

/// Writes to a database on a thread or a few tasks. Clones share them.
#[derive(Clone)]
pub(crate) struct Rows(UnboundedSender<Job>);

impl Rows {
    /// Lets connections be due now.
    pub(crate) async fn request(&self, ids: Vec<Uuid>) {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job::Request(ids, reply)).ok().unwrap();
        answer.await.unwrap();
    }

    /// Claims what is due: ids and fences.
    pub(crate) async fn claim(&self, limit: u32) -> Vec<(Uuid, i64)> {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job::Claim(limit, reply)).ok().unwrap();
        answer.await.unwrap()
    }

    /// Returns when the step is on the disk.
    pub(crate) async fn save(&self, step: Step) {
        let (reply, answer) = oneshot::channel();
        self.0.send(Job::Save(step, reply)).ok().unwrap();
        answer.await.unwrap();
    }

    pub(crate) fn in_sqlite(path: &Path) -> Self {
        let (queue, mut jobs) = unbounded_channel();
        let mut file = open(path);
        std::thread::spawn(move || {
            while let Some(first) = jobs.blocking_recv() {
                let mut batch = vec![first];
                while let Ok(next) = jobs.try_recv() {
                    batch.push(next);
                }
                commit(&mut file, batch);
            }
        });
        Self(queue)
    }

    pub(crate) async fn in_postgres(url: &str) -> Self {
        let (queue, jobs) = unbounded_channel();
        let jobs = Arc::new(Mutex::new(jobs));
        // One saves while the other collects.
        for _ in 0..2 {
            let link = Link::open(url).await;
            tokio::spawn(run(link, jobs.clone()));
        }
        Self(queue)
    }
}

fn now() -> i64 {
    SystemClock::new().now().timestamp_micros()
}

fn open(path: &Path) -> rusqlite::Connection {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA cache_size = -16000; PRAGMA busy_timeout = 30000;",
        )
        .unwrap();
    connection
}

fn commit(file: &mut rusqlite::Connection, batch: Vec<Job>) {
    let behavior = TransactionBehavior::Immediate;
    let transaction = file.transaction_with_behavior(behavior).unwrap();
    let mut replies: Vec<Box<dyn FnOnce()>> = Vec::new();
    for job in batch {
        match job {
            Job::Request(ids, reply) => {
                request(&transaction, &ids);
                replies.push(Box::new(move || reply.send(()).unwrap()));
            }
            Job::Claim(limit, reply) => {
                let claimed = claim(&transaction, limit);
                replies.push(Box::new(move || drop(reply.send(claimed))));
            }
            Job::Save(step, reply) => {
                save(&transaction, &step);
                replies.push(Box::new(move || reply.send(()).unwrap()));
            }
        }
    }
    transaction.commit().unwrap();
    replies.into_iter().for_each(|reply| reply());
}

fn request(to: &rusqlite::Connection, ids: &[Uuid]) {
    let sql = "UPDATE due SET wake_at = ?2, claimable_at = ?2
               WHERE row = (SELECT row FROM connection WHERE id = ?1)";
    let mut request = to.prepare_cached(sql).unwrap();
    for id in ids {
        let changed = request.execute(params![id.as_bytes(), now()]);
        assert_eq!(changed, Ok(1));
    }
}

fn claim(to: &rusqlite::Connection, limit: u32) -> Vec<(Uuid, i64)> {
    let now = now();
    let sql = "SELECT row, fence FROM due WHERE claimable_at <= ?1 ORDER BY claimable_at LIMIT ?2";
    let mut due = to.prepare_cached(sql).unwrap();
    let rows = due.query_map(params![now, limit], |row| Ok((row.get(0)?, row.get(1)?)));
    let rows: Vec<(i64, i64)> = rows.unwrap().collect::<Result<_, _>>().unwrap();
    let sql = "UPDATE due SET fence = ?2, holder = ?3, leased_at = ?4, lease_until = ?5, claimable_at = ?5
               WHERE row = ?1";
    let mut update = to.prepare_cached(sql).unwrap();
    let sql = "SELECT id, record FROM connection WHERE row = ?1";
    let mut read = to.prepare_cached(sql).unwrap();
    let claimed = rows.into_iter().map(|(row, fence)| {
        let values = params![row, fence + 1, [7_u8; 16], now, now + LEASE];
        update.execute(values).unwrap();
        let read = read.query_row([row], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)));
        let (id, record): ([u8; 16], String) = read.unwrap();
        assert!(!record.is_empty());
        (Uuid::from_bytes(id), fence + 1)
    });
    claimed.collect()
}

fn save(to: &rusqlite::Connection, step: &Step) {
    let now = now();
    let sql = "SELECT row FROM connection JOIN due USING (row) WHERE id = ?1 AND fence = ?2";
    let mut find = to.prepare_cached(sql).unwrap();
    let key = params![step.id.as_bytes(), step.fence];
    let row: i64 = find.query_row(key, |row| row.get(0)).unwrap();
    let sql = "UPDATE connection SET version = version + 1, record = ?2 WHERE row = ?1";
    let mut save = to.prepare_cached(sql).unwrap();
    save.execute(params![row, step.record]).unwrap();
    if step.last {
        let sql =
            "UPDATE due SET holder = NULL, leased_at = NULL, lease_until = NULL, wake_at = ?2,
                       claimable_at = ?2 WHERE row = ?1";
        let mut release = to.prepare_cached(sql).unwrap();
        release.execute([row, now + MONTH]).unwrap();
    } else {
        let sql =
            "UPDATE due SET leased_at = ?2, lease_until = ?3, claimable_at = ?3 WHERE row = ?1";
        let mut extend = to.prepare_cached(sql).unwrap();
        extend.execute([row, now, now + LEASE]).unwrap();
    }
    let sql = "INSERT INTO journal (connection, seq, body, digest) VALUES (?1, ?2, ?3, ?4)";
    let mut append = to.prepare_cached(sql).unwrap();
    for Entry { seq, body, digest } in &step.entries {
        let values = params![step.id.as_bytes(), seq, body, digest];
        append.execute(values).unwrap();
    }
}

const CLAIM: &str = "
    WITH due AS (
        SELECT id FROM keywheel.due WHERE claimable_at <= $1
        ORDER BY claimable_at LIMIT $4 FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE keywheel.due AS queue
        SET fence = fence + 1, holder = $2, leased_at = $1, lease_until = $3, claimable_at = $3
        FROM due WHERE queue.id = due.id RETURNING queue.id, queue.fence
    )
    SELECT id, fence, record FROM taken JOIN keywheel.connection USING (id)";

const SAVE: &str = "
    WITH input AS MATERIALIZED (
        SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::boolean[])
            AS input (id, fence, record, last)
    ), leased AS (
        UPDATE keywheel.due AS due
        SET version = version + 1,
            holder = CASE WHEN NOT last THEN holder END,
            leased_at = CASE WHEN NOT last THEN $5::bigint END,
            lease_until = CASE WHEN NOT last THEN $6::bigint END,
            wake_at = CASE WHEN last THEN $7::bigint ELSE wake_at END,
            claimable_at = CASE WHEN last THEN $7::bigint ELSE claimable_at END
        FROM input WHERE due.id = input.id AND due.fence = input.fence RETURNING due.id
    ), saved AS (
        UPDATE keywheel.connection SET version = version + 1, record = input.record
        FROM input JOIN leased USING (id) WHERE connection.id = input.id RETURNING connection.id
    )
    INSERT INTO keywheel.journal (connection, seq, body, digest)
    SELECT id, seq, body, digest
    FROM unnest($8::uuid[], $9::bigint[], $10::text[], $11::bytea[]) AS entry (id, seq, body, digest)
        JOIN saved USING (id)";

struct Link {
    client: Client,
    claim: Statement,
    save: Statement,
}

impl Link {
    async fn open(url: &str) -> Self {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        tokio::spawn(connection);
        Self {
            claim: client.prepare(CLAIM).await.unwrap(),
            save: client.prepare(SAVE).await.unwrap(),
            client,
        }
    }

    async fn request(&self, ids: &[Uuid]) {
        let sql = "UPDATE keywheel.due SET wake_at = $2, claimable_at = $2 WHERE id = ANY ($1)";
        let changed = self.client.execute(sql, &[&ids, &now()]).await;
        assert_eq!(changed.unwrap(), ids.len() as u64);
    }

    async fn claim(&self, limit: u32) -> Vec<(Uuid, i64)> {
        let (now, holder) = (now(), Uuid::from_u128(7));
        let until = now + LEASE;
        let limit = i64::from(limit);
        let rows = self
            .client
            .query(&self.claim, &[&now, &holder, &until, &limit])
            .await
            .unwrap();
        let claimed = rows.iter().map(|row| {
            assert!(!row.get::<_, &str>(2).is_empty());
            (row.get(0), row.get(1))
        });
        claimed.collect()
    }

    async fn save(&self, steps: &[Step]) {
        let now = now();
        let (until, month) = (now + LEASE, now + MONTH);
        let ids: Vec<Uuid> = steps.iter().map(|step| step.id).collect();
        let fences: Vec<i64> = steps.iter().map(|step| step.fence).collect();
        let records: Vec<&str> = steps.iter().map(|step| step.record.as_str()).collect();
        let lasts: Vec<bool> = steps.iter().map(|step| step.last).collect();
        let entries = || {
            let steps = steps.iter();
            steps.flat_map(|step| step.entries.iter().map(move |entry| (&step.id, entry)))
        };
        let of: Vec<&Uuid> = entries().map(|(id, _)| id).collect();
        let seqs: Vec<i64> = entries().map(|(_, entry)| entry.seq).collect();
        let bodies: Vec<&str> = entries().map(|(_, entry)| entry.body.as_str()).collect();
        let digests: Vec<&[u8]> = entries().map(|(_, entry)| &entry.digest[..]).collect();
        let written = self
            .client
            .execute(
                &self.save,
                &[
                    &ids, &fences, &records, &lasts, &now, &until, &month, &of, &seqs, &bodies,
                    &digests,
                ],
            )
            .await
            .unwrap();
        assert_eq!(written, of.len() as u64);
    }
}

async fn run(link: Link, jobs: Arc<Mutex<UnboundedReceiver<Job>>>) {
    loop {
        let mut batch = Vec::new();
        if jobs.lock().await.recv_many(&mut batch, 256).await == 0 {
            return;
        }
        let (mut steps, mut replies) = (Vec::new(), Vec::new());
        for job in batch {
            match job {
                Job::Request(ids, reply) => {
                    link.request(&ids).await;
                    replies.push(reply);
                }
                Job::Claim(limit, reply) => drop(reply.send(link.claim(limit).await)),
                Job::Save(step, reply) => {
                    steps.push(step);
                    replies.push(reply);
                }
            }
        }
        if !steps.is_empty() {
            link.save(&steps).await;
        }
        replies
            .into_iter()
            .for_each(|reply| reply.send(()).unwrap());
    }
}
