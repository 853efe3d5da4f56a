use std::time::Duration;

use keywheel::core::{Entropy, SystemEntropy};
use tokio::process::Child;
use tokio::time::sleep;

use crate::fleet::Fleet;

/// Does to three workers and their database what production does.
pub(crate) struct Chaos<'a> {
    fleet: &'a Fleet,
    workers: Vec<Child>,
    pub(crate) killed: u32,
    pub(crate) stopped: u32,
    pub(crate) restarts: u32,
}

impl<'a> Chaos<'a> {
    pub(crate) fn start(fleet: &'a Fleet) -> Self {
        Self {
            fleet,
            workers: (0..3).map(|_| fleet.worker()).collect(),
            killed: 0,
            stopped: 0,
            restarts: 0,
        }
    }

    /// Waits a little, and then kills or stops a worker, or crashes the database.
    pub(crate) async fn strike(&mut self) {
        sleep(Duration::from_secs_f64(0.3 + unit() * 1.2)).await;
        self.all_run();
        let which = (unit() * 3.0) as usize % 3;
        match unit() {
            x if x < 0.6 => self.kill(which).await,
            x if x < 0.85 => self.stop(which).await,
            _ => self.restart_database().await,
        }
    }

    /// A worker in which anything panics, or a secret reaches the log, ends by itself.
    fn all_run(&mut self) {
        for worker in &mut self.workers {
            let ended = worker.try_wait().unwrap();
            assert!(ended.is_none(), "a worker ended by itself: {ended:?}");
        }
    }

    /// SIGKILL, and a new process in its place.
    async fn kill(&mut self, which: usize) {
        self.workers[which].kill().await.unwrap();
        self.workers[which] = self.fleet.worker();
        self.killed += 1;
    }

    /// SIGSTOP for longer than a lease lasts, while the others go on; then it wakes up and believes that
    /// the lease is its own.
    async fn stop(&mut self, which: usize) {
        self.signal(which, "STOP");
        sleep(Duration::from_secs_f64(3.5 + unit() * 2.0)).await;
        self.signal(which, "CONT");
        self.stopped += 1;
    }

    async fn restart_database(&mut self) {
        self.fleet.server.crash();
        sleep(Duration::from_secs_f64(unit())).await;
        self.fleet.server.start_again();
        self.restarts += 1;
    }

    /// Whether each of them happened so many times, and workers died often.
    pub(crate) fn is_enough(&self, kills: u32, others: u32) -> bool {
        self.killed >= kills && self.stopped >= others && self.restarts >= others
    }

    fn signal(&self, which: usize, name: &str) {
        signal(self.workers[which].id().unwrap(), name);
    }

    /// Asks the workers to end, and waits for it.
    pub(crate) async fn end(mut self) {
        self.all_run();
        for which in 0..self.workers.len() {
            self.signal(which, "TERM");
            let status = self.workers[which].wait().await.unwrap();
            assert!(
                status.success(),
                "a worker ends well when it is asked to: {status}"
            );
        }
    }
}

fn unit() -> f64 {
    SystemEntropy::new().unit()
}

/// Sends a signal to a process.
pub(crate) fn signal(process: u32, name: &str) {
    let mut kill = std::process::Command::new("kill");
    let kill = kill.args(["-s", name, &process.to_string()]);
    assert!(kill.status().unwrap().success());
}
