//! What is measured of a fleet that meets with faults, as Prometheus reads it.

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use keywheel_connection::{Actor, Cause, ConnectionStore, Entry, Seconds, SinkError};
use keywheel_core::Clock;
use keywheel_rotation::{CallbackSink, Farewell};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use tokio::time::sleep;

use crate::fleet::{Fleet, Member, settings, tenant};

/// Returns the sum of what is shown under a name, with these labels.
fn read(handle: &PrometheusHandle, name: &str, labels: &[(&str, &str)]) -> f64 {
    let text = handle.render();
    let labels: Vec<_> = labels.iter().map(|(k, v)| format!("{k}=\"{v}\"")).collect();
    let lines = text.lines().filter_map(|line| line.rsplit_once(' '));
    let ours = lines.filter(|(series, _)| {
        let (of, with) = series.split_once('{').unwrap_or((series, ""));
        of == name && labels.iter().all(|label| with.contains(label))
    });
    let values: Vec<f64> = ours.map(|(_, value)| value.parse().unwrap()).collect();
    assert!(!values.is_empty(), "{name} {labels:?} is not in\n{text}");
    values.iter().sum()
}

fn me() -> Actor {
    Actor::named("test")
}

#[tokio::test(start_paused = true)]
async fn a_fleet_that_meets_with_faults_is_measured() {
    let recorder = PrometheusBuilder::new().set_buckets(&[1.0]).unwrap();
    let recorder = recorder.build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let value = |name, labels: &[_]| read(&handle, name, labels);
    let first = [("namespace", "default"), ("connection", "number-1")];
    let mut fleet = Fleet::new();
    let members = fleet.add(&tenant("some.example"), 3).await;
    let [one, two, three] = <[Member; 3]>::try_from(members.clone()).unwrap();

    // Killed in the middle of every mint: what was minted is found, and removed.
    let dying = fleet.start(fleet.worker(1));
    sleep(Duration::from_millis(50)).await;
    let worker = fleet.start(fleet.worker(2));
    dying.kill().await;
    fleet.settled(&members, 1).await;
    assert_same(value("keywheel_mints_unresolved_total", &[]), 3.0);
    assert_same(value("keywheel_orphans_found_total", &[]), 3.0);
    assert_same(value("keywheel_secrets_minted_total", &[]), 3.0);
    assert_same(
        value("keywheel_secrets_revoked_total", &[("reason", "orphan")]),
        3.0,
    );
    assert_same(
        value("keywheel_rotations_total", &[("outcome", "confirmed")]),
        3.0,
    );
    let end = fleet.status(one).await.end.unwrap();
    let shown = value("keywheel_secret_expiry_timestamp_seconds", &first);
    assert_same(shown, f64::from(u32::try_from(end.timestamp()).unwrap()));

    // Each call takes 100 ms, and a mint is one call.
    let mints = value("keywheel_step_seconds_count", &[("step", "mint")]);
    let took = value("keywheel_step_seconds_sum", &[("step", "mint")]) / mints;
    assert!((0.099..0.12).contains(&took), "{took}");
    let proofs = value("keywheel_step_seconds_count", &[("step", "prove")]);
    assert_same(proofs, 9.0);
    assert_same(
        proofs,
        value(
            "keywheel_steps_total",
            &[("step", "prove"), ("outcome", "saved")],
        ),
    );

    // A debt that can't be paid is one from its due date on; what is in its grace is none.
    fleet.directory.keep_all(true);
    fleet.request(&[one], Cause::Manual).await;
    sleep(Duration::from_secs(60)).await;
    assert_same(value("keywheel_debts", &first), 1.0);
    assert_same(value("keywheel_secrets_in_grace", &first), 0.0);
    assert!(
        value(
            "keywheel_rotation_failures_total",
            &[("step", "revoke"), ("kind", "transient")]
        ) >= 1.0
    );
    fleet.directory.keep_all(false);
    fleet.settled(&[one], 2).await;
    assert_same(value("keywheel_debts", &first), 0.0);
    let mut patient = settings();
    patient.grace = Seconds(2 * 86_400);
    let changed = fleet
        .connections()
        .change_settings(one.id, patient, &me())
        .await;
    changed.unwrap();
    fleet.request(&[one], Cause::Manual).await;
    sleep(Duration::from_hours(24)).await;
    assert_same(value("keywheel_debts", &first), 0.0);
    assert_same(value("keywheel_secrets_in_grace", &first), 1.0);

    // Nobody worked for a hundred seconds.
    worker.stop().await;
    let (begun, late) = (
        value("keywheel_worker_lag_seconds_count", &[]),
        value("keywheel_worker_lag_seconds_sum", &[]),
    );
    fleet.request(&[two], Cause::Manual).await;
    sleep(Duration::from_secs(100)).await;
    let worker = fleet.start(fleet.worker(3));
    sleep(Duration::from_secs(3)).await;
    assert_same(value("keywheel_worker_lag_seconds_count", &[]) - begun, 1.0);
    let late = value("keywheel_worker_lag_seconds_sum", &[]) - late;
    assert!((100.0..106.0).contains(&late), "{late}");

    // The machine sleeps between two proofs, and another worker takes over.
    fleet.clock.step(TimeDelta::minutes(2));
    let second = fleet.start(fleet.worker(4));
    fleet.settled(&[two], 2).await;
    sleep(Duration::from_secs(30)).await;
    assert_same(value("keywheel_worker_leases_lost_total", &[]), 1.0);

    // What is deleted is shown no more: by whoever deletes it, and by a survey when another process did.
    let (verbs, gone) = (fleet.connections(), fleet.clock.now());
    verbs.delete(two.id, Farewell::Leave, &me()).await.unwrap();
    verbs
        .delete(three.id, Farewell::Revoke, &me())
        .await
        .unwrap();
    sleep(Duration::from_mins(11)).await;
    assert!(fleet.clock.now() > gone);
    for name in ["number-2", "number-3"] {
        let labels = [("connection", name)];
        let end = value("keywheel_secret_expiry_timestamp_seconds", &labels);
        assert!(end.is_nan(), "{name}: {end}");
        assert_same(value("keywheel_debts", &labels), 0.0);
    }
    assert!(value("keywheel_secret_expiry_timestamp_seconds", &first) > 0.0);
    assert_same(value("keywheel_connections", &[("health", "active")]), 1.0);
    worker.stop().await;
    second.stop().await;
}

/// So that a rule can set the failures of a step against how often it was made.
#[tokio::test(start_paused = true)]
async fn a_step_has_one_name_in_every_metric_and_no_sink_is_in_a_label() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut fleet = Fleet::new();
    let broken = CallbackSink::new("/srv/secret-place", async |_| {
        Err(SinkError::new("the disk is full; make room"))
    });
    fleet.sinks.after.push(Arc::new(broken));
    let members = fleet.add(&tenant("some.example"), 1).await;
    fleet.directory.keep_all(true);
    let worker = fleet.start(fleet.worker(1));
    sleep(Duration::from_mins(2)).await;
    worker.stop().await;

    for step in ["deliver", "revoke"] {
        let labels = [("step", step)];
        assert!(read(&handle, "keywheel_rotation_failures_total", &labels) >= 1.0);
        assert!(read(&handle, "keywheel_steps_total", &labels) >= 1.0);
        assert!(read(&handle, "keywheel_step_seconds_count", &labels) >= 1.0);
    }
    let text = handle.render();
    assert!(!text.contains("secret-place"), "{text}");
    assert!(!text.contains("retire"), "{text}");
    let journal = fleet.memory.journal(members[0].id, 0, 100).await.unwrap();
    let told = |entry: &Entry| entry.body.contains("secret-place");
    assert!(journal.iter().any(told), "the event names the sink");
}

#[tokio::test(start_paused = true)]
async fn the_gauges_of_connections_can_be_left_out() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let mut fleet = Fleet::new();
    fleet.policy.connection_gauges = false;
    let members = fleet.add(&tenant("some.example"), 2).await;
    let worker = fleet.start(fleet.worker(1));
    fleet.settled(&members, 1).await;
    let verbs = fleet.connections();
    let deleted = verbs.delete(members[1].id, Farewell::Revoke, &me()).await;
    deleted.unwrap();
    sleep(Duration::from_mins(6)).await;
    worker.stop().await;

    let text = handle.render();
    assert!(!text.contains("number-"), "{text}");
    let active = [("health", "active")];
    assert_same(read(&handle, "keywheel_connections", &active), 1.0);
}

/// Counts and whole seconds are exact.
#[track_caller]
fn assert_same(left: f64, right: f64) {
    assert!((left - right).abs() < 1e-6, "{left} is not {right}");
}
