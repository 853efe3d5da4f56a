use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use apalis::prelude::*;
use futures_util::stream;
use keywheel_testkit::TestDatabase;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{PgPool, SqlitePool};
use tokio::time::Instant;

pub async fn postgres(database: &TestDatabase, jobs: usize, batch: u32) -> Duration {
    use apalis_postgres::{Config, PostgresStorage};
    let pool = PgPool::connect(&database.url()).await.unwrap();
    PostgresStorage::setup(&pool).await.unwrap();
    let config = Config::default().queue("jobs").batch_size(batch as usize);
    let mut backend = PostgresStorage::<usize>::new(&pool).with_config(config);
    backend.push_all(&mut tasks(jobs)).await.unwrap();
    sqlx::query("UPDATE apalis.jobs SET run_at = now() - interval '1 minute'").execute(&pool).await.unwrap();
    sqlx::query("ANALYZE").execute(&pool).await.unwrap();
    let begun = Instant::now();
    let backend = backend.poll_with_strategy(strategy());
    let done = Arc::new(AtomicUsize::new(0));
    let worker = WorkerBuilder::new("worker").backend(backend).data(Until { done, jobs }).build(work);
    worker.run().await.unwrap();
    let took = begun.elapsed();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM apalis.jobs WHERE status <> 'Done'").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
    pool.close().await;
    took
}

pub async fn sqlite(jobs: usize, batch: u32) -> Duration {
    use apalis_sqlite::{Config, SqliteStorage};
    let directory = tempfile::tempdir().unwrap();
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join("apalis.db"))
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .busy_timeout(Duration::from_secs(30));
    // The setup switches `synchronous` off on its connection.
    let pool = SqlitePool::connect_with(options.clone()).await.unwrap();
    SqliteStorage::setup(&pool).await.unwrap();
    pool.close().await;
    let pool = SqlitePoolOptions::new().connect_with(options).await.unwrap();
    let config = Config::default().queue("jobs").batch_size(batch as usize);
    let mut backend = SqliteStorage::<usize>::new(&pool).with_config(config);
    backend.push_all(&mut tasks(jobs)).await.unwrap();
    sqlx::query("UPDATE Jobs SET run_at = run_at - 60").execute(&pool).await.unwrap();
    let begun = Instant::now();
    let backend = backend.poll_with_strategy(strategy());
    let done = Arc::new(AtomicUsize::new(0));
    let worker = WorkerBuilder::new("worker").backend(backend).data(Until { done, jobs }).build(work);
    worker.run().await.unwrap();
    let took = begun.elapsed();
    let left: i64 = sqlx::query_scalar("SELECT count(*) FROM Jobs WHERE status <> 'Done'").fetch_one(&pool).await.unwrap();
    assert_eq!(left, 0);
    pool.close().await;
    took
}

fn tasks(jobs: usize) -> impl stream::Stream<Item = Task<usize>> + Unpin + Send {
    stream::iter((0..jobs).map(|n| TaskBuilder::new(n).build()))
}

fn strategy() -> Strategy {
    Strategy::new().interval(Duration::from_millis(1))
}

#[derive(Clone)]
struct Until {
    done: Arc<AtomicUsize>,
    jobs: usize,
}

async fn work(_: usize, until: Data<Until>, worker: WorkerContext) -> Result<(), BoxDynError> {
    if until.done.fetch_add(1, Ordering::Relaxed) + 1 == until.jobs {
        worker.stop()?;
    }
    Ok(())
}
