//! Claims about dead letters.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use crate::{Consumer, Cursor, DeadLetter, DeadLetters};

/// How to make a store of dead letters to be tested.
#[async_trait]
pub trait DeadLetterFixture: Debug + Send + Sync {
    /// Returns one with nothing in it.
    async fn empty(&self) -> Arc<dyn DeadLetters>;
}

/// Makes a test of each claim that a store of dead letters must keep. The argument makes a
/// [`DeadLetterFixture`](crate::conformance::dead_letters::DeadLetterFixture), and may `await`.
///
/// The tests run on tokio: it must be among the dependencies, with the features `macros` and
/// `rt-multi-thread`.
#[macro_export]
macro_rules! dead_letter_conformance {
    ($fixture:expr) => {
        $crate::dead_letter_conformance! { @ $fixture;
            a_dead_letter_is_read_back_as_it_was
            dead_letters_are_read_in_pages_and_each_consumers_apart
            a_letter_that_is_kept_again_takes_the_place_of_the_one_before
            a_dropped_letter_is_gone_and_no_other
        }
    };
    (@ $fixture:expr; $($claim:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $claim() {
                $crate::conformance::dead_letters::$claim(&$fixture).await;
            }
        )+
    };
}

/// To the microsecond, and whatever was said.
pub async fn a_dead_letter_is_read_back_as_it_was(fixture: &dyn DeadLetterFixture) {
    let store = fixture.empty().await;
    for (n, error) in [
        (1, ""),
        (2, "'; \u{1f511}\n"),
        (i64::MAX as u64, &*"x".repeat(9_000)),
    ] {
        let mut letter = letter(n);
        error.clone_into(&mut letter.error);
        letter.attempts = u32::MAX;
        store.keep_dead_letter(&audit(), &letter).await.unwrap();

        let after = Cursor(n - 1);
        let read = store.dead_letters(&audit(), after, 1).await.unwrap();
        assert_eq!(read, [letter]);
    }
}

/// In the order of the outbox, however they came.
pub async fn dead_letters_are_read_in_pages_and_each_consumers_apart(
    fixture: &dyn DeadLetterFixture,
) {
    let store = fixture.empty().await;
    for n in [7, 3, 9, 1, 5] {
        store.keep_dead_letter(&audit(), &letter(n)).await.unwrap();
    }
    store.keep_dead_letter(&mail(), &letter(4)).await.unwrap();

    let page = async |after, limit| {
        let page = store.dead_letters(&audit(), Cursor(after), limit).await;
        let letters = page.unwrap().into_iter();
        letters.map(|letter| letter.cursor.0).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 2).await, [1, 3]);
    assert_eq!(page(3, 2).await, [5, 7]);
    assert_eq!(page(7, 2).await, [9]);
    assert_eq!(page(9, 2).await, [0; 0]);
    let of_mail = store.dead_letters(&mail(), Cursor::START, 9).await.unwrap();
    assert_eq!(of_mail, [letter(4)]);
}

/// It was tried once more.
pub async fn a_letter_that_is_kept_again_takes_the_place_of_the_one_before(
    fixture: &dyn DeadLetterFixture,
) {
    let store = fixture.empty().await;
    let mut letter = letter(3);
    store.keep_dead_letter(&audit(), &letter).await.unwrap();
    letter.attempts += 1;
    letter.given_up_at += TimeDelta::hours(1);
    "another one".clone_into(&mut letter.error);

    store.keep_dead_letter(&audit(), &letter).await.unwrap();

    let all = store.dead_letters(&audit(), Cursor::START, 9).await;
    assert_eq!(all.unwrap(), [letter]);
}

/// Neither that of another consumer.
pub async fn a_dropped_letter_is_gone_and_no_other(fixture: &dyn DeadLetterFixture) {
    let store = fixture.empty().await;
    for (consumer, n) in [(audit(), 1), (audit(), 2), (mail(), 1)] {
        store.keep_dead_letter(&consumer, &letter(n)).await.unwrap();
    }

    assert!(store.drop_dead_letter(&audit(), Cursor(1)).await.unwrap());
    assert!(!store.drop_dead_letter(&audit(), Cursor(1)).await.unwrap());

    let left = store.dead_letters(&audit(), Cursor::START, 9).await;
    assert_eq!(left.unwrap(), [letter(2)]);
    let left = store.dead_letters(&mail(), Cursor::START, 9).await;
    assert_eq!(left.unwrap(), [letter(1)]);
}

fn audit() -> Consumer {
    "audit".parse().unwrap()
}

fn mail() -> Consumer {
    "mail".parse().unwrap()
}

fn letter(n: u64) -> DeadLetter {
    DeadLetter {
        cursor: Cursor(n),
        connection: Uuid::from_u128(n.into()).into(),
        seq: n / 2 + 1,
        given_up_at: DateTime::<Utc>::UNIX_EPOCH + TimeDelta::microseconds(1_774_000_000_123_456),
        attempts: 8,
        error: format!("no {n}"),
    }
}
