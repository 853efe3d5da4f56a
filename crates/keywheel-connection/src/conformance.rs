//! Holds an implementation of [`ConnectionStore`] or [`Sealer`](crate::Sealer) to
//! its contract.
//!
//! Say how to make a store in a [`Fixture`], and let [`store_conformance!`](crate::store_conformance) make
//! one test of each claim:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::Duration;
//!
//! use chrono::{DateTime, TimeDelta, Utc};
//! use keywheel_connection::conformance::Fixture;
//! use keywheel_connection::{ConnectionStore, MemoryStore};
//! use keywheel_core::{Clock, ManualClock};
//!
//! #[derive(Debug)]
//! struct InMemory {
//!     clock: ManualClock,
//! }
//!
//! #[async_trait::async_trait]
//! impl Fixture for InMemory {
//!     async fn empty(&self) -> Arc<dyn ConnectionStore> {
//!         Arc::new(MemoryStore::new(Arc::new(self.clock.clone())))
//!     }
//!
//!     async fn now(&self) -> DateTime<Utc> {
//!         self.clock.now()
//!     }
//!
//!     async fn pass(&self, span: Duration) {
//!         self.clock.advance(TimeDelta::from_std(span).unwrap());
//!     }
//!
//!     async fn set_back(&self, by: Duration) {
//!         self.clock.advance(-TimeDelta::from_std(by).unwrap());
//!     }
//! }
//!
//! keywheel_connection::store_conformance!(InMemory {
//!     clock: ManualClock::new(DateTime::UNIX_EPOCH),
//! });
//! ```
//!
//! For its dead letters it is a [`DeadLetterFixture`](dead_letters::DeadLetterFixture) and
//! [`dead_letter_conformance!`](crate::dead_letter_conformance), and for a sealer a [`SealerFixture`](sealers::SealerFixture) and
//! [`sealer_conformance!`](crate::sealer_conformance).

#![expect(
    clippy::missing_panics_doc,
    reason = "each claim panics when it does not hold"
)]
#![expect(clippy::unwrap_used, reason = "a failed claim panics")]

pub mod connections;
pub mod dead_letters;
pub mod leases;
pub mod outbox;
pub mod sample;
pub mod sealers;

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};

use crate::{ConnectionStore, Entry, StoreError, StoreErrorKind};

/// How to make a store to be tested, and how to move the clock that its leases run by.
#[async_trait]
pub trait Fixture: Debug + Send + Sync {
    /// Returns a store with nothing in it.
    async fn empty(&self) -> Arc<dyn ConnectionStore>;

    /// Returns the time by the store's clock.
    async fn now(&self) -> DateTime<Utc>;

    /// Moves the store's clock forward, or waits.
    async fn pass(&self, span: Duration);

    /// Sets the store's clock back.
    async fn set_back(&self, by: Duration);
}

/// Makes a test of each claim that a store must keep. The argument makes a
/// [`Fixture`](crate::conformance::Fixture), and may `await`.
///
/// The tests run on tokio: it must be among the dependencies, with the features `macros` and
/// `rt-multi-thread`.
#[macro_export]
macro_rules! store_conformance {
    ($fixture:expr) => {
        $crate::store_conformance! { @ $fixture;
            connections: a_new_connection_is_read_back_as_it_was
                names_are_unique_in_their_namespace
                an_id_is_never_used_twice
                pages_hold_every_connection_once_and_in_order
                a_page_of_one_namespace_shows_no_other
                ids_are_read_once_and_in_order
                a_save_is_read_back_as_it_was
                a_save_of_an_older_version_is_refused
                of_many_saves_of_one_version_one_is_made
                a_renamed_connection_has_its_new_name_only
                a_taken_name_is_refused_and_nothing_changed
                a_deleted_connection_leaves_its_tombstone_and_its_journal
                a_dropped_save_is_made_whole_or_not_at_all;
            leases: what_is_due_is_claimed_once
                what_could_be_claimed_longest_is_claimed_first
                what_is_not_due_is_not_claimed
                a_save_can_leave_the_time_to_wake_as_it_is
                an_expired_lease_is_taken_over_and_fenced_off
                a_renewed_lease_lasts
                a_lease_may_last_for_ever
                a_released_lease_is_over
                a_save_extends_or_releases_its_lease
                one_lease_of_a_connection_at_a_time
                a_lease_from_the_future_is_over
                claimers_never_share_a_connection;
            outbox: a_journal_is_read_in_pages
                a_refused_save_leaves_no_entries
                entries_come_in_order_and_none_is_missed
                each_consumer_has_a_place_of_its_own
                one_replica_leads_a_consumer_until_its_time_is_over
                a_lead_from_the_future_is_over
                a_journal_is_verified_to_its_head;
        }
    };
    (@ $fixture:expr; $($module:ident: $($claim:ident)+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                $crate::conformance::$module::$claim(&$fixture).await;
            }
        )+)+
    };
}

/// Returns what kind of error it is.
#[track_caller]
fn refused<T: Debug>(result: Result<T, StoreError>) -> StoreErrorKind {
    result.unwrap_err().kind()
}

fn numbers(entries: &[Entry]) -> Vec<u64> {
    entries.iter().map(|entry| entry.seq).collect()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}
