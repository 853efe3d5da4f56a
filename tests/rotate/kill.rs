use std::time::Duration;

use keywheel::core::{Entropy, SystemEntropy};
use keywheel_testkit::{cases, figure};

use crate::place::{Place, stderr};

const FLAGS: [&str; 6] = ["--proofs", "2", "--proof-span", "1s", "--grace", "0s"];

/// Runs `rotate`, kills it with SIGKILL at a random point, and runs it again: the fifty times in
/// the full run. After each kill the stored secret must work and the foreign one be there; in the end
/// one secret of ours is left.
#[tokio::test(flavor = "multi_thread")]
async fn killed_at_random_points_it_loses_nothing() {
    let place = Place::new().await;
    let kills = cases(12, 50);
    let mut figures = Figures::default();

    while figures.killed < kills {
        // Some runs ask for a rotation of their own, so that later ones are killed too.
        let mut flags = FLAGS.to_vec();
        flags.extend((figures.killed % 3 == 2).then_some("--now"));
        let mut child = place.spawn(&flags);
        let wait = Duration::from_secs_f64(SystemEntropy::new().unit() * 2.0);
        match tokio::time::timeout(wait, child.wait()).await {
            Ok(_) => figures.finished += 1,
            Err(_) => {
                child.kill().await.unwrap();
                figures.killed += 1;
            }
        }
        figures.check(&place).await;
    }
    let last = place.run(&FLAGS).await;

    assert_eq!(last.status.code(), Some(0), "{}", stderr(&last));
    figures.check(&place).await;
    let (connection, _) = place.stored().await.unwrap();
    let original = place.emulator.default_app().secret().expose().to_owned();
    assert_eq!(place.ours().len(), 1, "no orphan is left");
    assert!(!place.emulator.accepts(place.client(), &original));
    figure(
        "killed program",
        &format!(
            "kills: {} SIGKILL, {} runs that ended before, {} rotations, 0 lockouts, 0 orphans left, original \
             revoked, foreign secret untouched",
            figures.killed,
            figures.finished,
            connection.secrets().unwrap().current.generation,
        ),
    );
}

#[derive(Default)]
struct Figures {
    killed: u32,
    finished: u32,
}

impl Figures {
    async fn check(&self, place: &Place) {
        let foreign = place.foreign.text.expose();
        assert!(place.emulator.accepts(place.client(), foreign), "G3");
        if let Some((connection, secret)) = place.stored().await {
            assert!(
                place.emulator.accepts(place.client(), secret.expose()),
                "G1 after {} kills: {connection:#?}",
                self.killed
            );
        }
        assert!(place.ours().len() <= 2, "G5: {:?}", place.ours());
    }
}
