use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connection::{Connection, Page, StoreError};
use metrics::gauge;
use tokio::time::sleep;

use super::on::{count_of, word};
use super::table::name;
use crate::{Health, Rotator, Status};

/// How long to rest between two walks, and between two pages of one.
const REST: Duration = Duration::from_mins(5);
const BREATH: Duration = Duration::from_millis(50);
const PAGE: u32 = 200;

/// Walks through all connections, again and again, and shows how they are: those too that no step is made
/// of for weeks. Never ends.
pub(crate) async fn survey(rotator: Rotator) {
    loop {
        if let Err(error) = walk(&rotator).await {
            tracing::debug!(%error, "worker.survey_cut_short");
        }
        sleep(REST).await;
    }
}

async fn walk(rotator: &Rotator) -> Result<(), StoreError> {
    let mut healths: BTreeMap<String, usize> = ALL.iter().map(|it| (word(it), 0)).collect();
    let mut last: Option<Arc<Connection>> = None;
    let gauges = rotator.gauges();
    let round = gauges.begin_survey();
    loop {
        let page = Page::of_all(PAGE);
        let page = last.as_ref().map_or(page, |last| page.after(last));
        let read = rotator.parts().store.list(page).await?;
        let Some(end) = read.last() else {
            break;
        };
        let end = end.connection.clone();
        for stored in &read {
            let (connection, now) = (&stored.connection, rotator.now());
            gauges.show(connection, now);
            let status = Status::of(connection, now, &rotator.policy_of(connection));
            *healths.entry(word(&status.health)).or_default() += 1;
        }
        last = Some(end);
        sleep(BREATH).await;
    }
    gauges.end_survey(round);
    for (health, count) in healths {
        gauge!(name::CONNECTIONS, "health" => health).set(count_of(count));
    }
    Ok(())
}

/// Those too that no connection has, so that an alert ends.
const ALL: [Health; 6] = [
    Health::Active,
    Health::Expiring,
    Health::Halted,
    Health::LockedOut,
    Health::NeedsReauth,
    Health::StoreBehind,
];
