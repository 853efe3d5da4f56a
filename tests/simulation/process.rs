use keywheel_connection::{ConnectionStore, Holder};
use keywheel_core::Entropy;
use keywheel_rotation::{Advance, Policy, Rotator, Work};

use super::ports::parts;
use super::world::{Moment, World};

/// How long until the store is asked again, when nothing was to do, in milliseconds.
const POLL: i64 = 5_000;

/// One of the processes that claim due work and drive it, from its start to its end.
pub(crate) async fn replica(world: World, process: usize) {
    let parts = parts(&world, process);
    let holder = Holder::from(parts.entropy.uuid());
    let rotator = Rotator::new(parts.clone(), Policy::default());
    let mut idle = 0;
    loop {
        let late = world.state().chance.span(5_000);
        let due = world.due();
        if due > world.now() {
            world.rest_until_change(process, due.plus(late)).await;
            continue;
        }
        world.rest(process, late).await;
        let lease = rotator.policy().lease;
        match parts.store.claim_due(holder, 2, lease).await {
            Ok(claims) => {
                let mut stepped = false;
                for claimed in claims {
                    stepped |= drive((&world, process), &rotator, claimed.into()).await;
                }
                // Perhaps the store's clock is ahead of ours, and nothing is due here yet.
                idle = if stepped { 0 } else { idle + 1 };
                if idle > 0 {
                    world.rest(process, POLL << idle.min(8)).await;
                }
            }
            Err(_) => world.rest(process, 1_000).await,
        }
    }
}

/// Advances a connection until there is nothing to do for a while, or something failed. Returns whether
/// anything was done.
async fn drive((world, process): (&World, usize), rotator: &Rotator, mut work: Work) -> bool {
    let mut stepped = false;
    while work.is_held() {
        match rotator.advance(&mut work).await {
            Ok(Advance::Stepped) => stepped = true,
            Ok(Advance::Waiting { until, .. }) => {
                let Some(until) = until.filter(|_| work.is_held()) else {
                    break;
                };
                let wait = until - rotator.now();
                world.rest(process, wait.num_milliseconds().max(1)).await;
            }
            Err(_) => break,
        }
    }
    stepped
}

/// Returns how long a process that ended stays away.
pub(crate) fn downtime(world: &World) -> Moment {
    let now = world.now();
    now.plus(world.state().chance.span(600_000))
}
