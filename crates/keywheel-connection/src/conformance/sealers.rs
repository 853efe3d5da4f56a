//! Claims about sealers.

use std::fmt::Debug;
use std::sync::Arc;

use async_trait::async_trait;
use keywheel_core::Secret;

use crate::{ConnectionId, Namespace, SealContext, SealErrorKind, Sealed, Sealer};

/// How to make a sealer to be tested.
#[async_trait]
pub trait SealerFixture: Debug + Send + Sync {
    /// Returns a sealer.
    async fn sealer(&self) -> Arc<dyn Sealer>;

    /// Returns one whose key is another one, and which does not have the first one's.
    async fn stranger(&self) -> Arc<dyn Sealer>;
}

/// Makes a test of each claim that a sealer must keep. The argument makes a
/// [`SealerFixture`](crate::conformance::sealers::SealerFixture), and may `await`.
///
/// The tests run on tokio: it must be among the dependencies, with the features `macros` and `rt`.
#[macro_export]
macro_rules! sealer_conformance {
    ($fixture:expr) => {
        $crate::sealer_conformance! { @ $fixture;
            what_was_sealed_opens_in_its_own_place_only
            a_changed_value_does_not_open
            a_missing_key_is_named
            sealing_twice_gives_two_values
            a_sealed_value_shows_no_secret
        }
    };
    (@ $fixture:expr; $($claim:ident)+) => {
        $(
            #[tokio::test]
            async fn $claim() {
                $crate::conformance::sealers::$claim(&$fixture).await;
            }
        )+
    };
}

/// The namespace, the connection, the field and the generation must be the same.
pub async fn what_was_sealed_opens_in_its_own_place_only(fixture: &dyn SealerFixture) {
    let sealer = fixture.sealer().await;
    let (here, there) = (Namespace::default(), "other".parse().unwrap());
    let mut field = context(&here, 1, 2);
    field.field = "refresh-token";

    for length in [0, 1, 40, 1_024] {
        let text = "\u{1f511}x".repeat(length);
        let secret = Secret::new(text.clone());
        let sealed = sealer.seal(&secret, &context(&here, 1, 2)).await.unwrap();
        let opened = sealer.open(&sealed, &context(&here, 1, 2)).await.unwrap();
        assert_eq!(opened.expose(), text);
        for wrong in [
            context(&here, 1, 3),
            context(&here, 2, 2),
            context(&there, 1, 2),
            field,
        ] {
            let error = sealer.open(&sealed, &wrong).await.unwrap_err();
            assert_eq!(error.kind(), SealErrorKind::Damaged, "{wrong:?}");
        }
    }
}

/// Whichever byte was changed, and wherever it was cut off.
pub async fn a_changed_value_does_not_open(fixture: &dyn SealerFixture) {
    let sealer = fixture.sealer().await;
    let namespace = Namespace::default();
    let context = context(&namespace, 1, 1);
    let secret = Secret::new("value");
    let sealed = sealer.seal(&secret, &context).await.unwrap();
    let whole = sealed.data();

    let changed = (0..whole.len()).map(|index| {
        let mut data = whole.to_vec();
        data[index] ^= 1;
        data
    });
    let cut = (0..whole.len()).map(|length| whole[..length].to_vec());
    for data in changed.chain(cut) {
        let changed = Sealed::new(sealed.key_id(), data);
        let error = sealer.open(&changed, &context).await.unwrap_err();
        assert!(!error.is_transient(), "{error:?}");
    }
}

/// By the sealed value alone.
pub async fn a_missing_key_is_named(fixture: &dyn SealerFixture) {
    let (sealer, stranger) = (fixture.sealer().await, fixture.stranger().await);
    let namespace = Namespace::default();
    let context = context(&namespace, 1, 1);
    let secret = Secret::new("value");
    let sealed = sealer.seal(&secret, &context).await.unwrap();

    assert_eq!(sealed.key_id(), sealer.key_id());
    assert_ne!(sealer.key_id(), stranger.key_id());
    assert!(!sealer.key_id().contains(':'), "{}", sealer.key_id());
    let error = stranger.open(&sealed, &context).await.unwrap_err();

    assert_eq!(error.kind(), SealErrorKind::KeyMissing);
    assert_eq!(error.key_id(), sealer.key_id());
    assert!(error.to_string().contains(sealer.key_id()), "{error}");
}

/// So that nobody sees that two secrets are the same.
pub async fn sealing_twice_gives_two_values(fixture: &dyn SealerFixture) {
    let sealer = fixture.sealer().await;
    let namespace = Namespace::default();
    let secret = Secret::new("value");

    let first = sealer.seal(&secret, &context(&namespace, 1, 1)).await;
    let second = sealer.seal(&secret, &context(&namespace, 1, 1)).await;

    assert_ne!(first.unwrap().data(), second.unwrap().data());
}

/// Neither as what is stored nor in what is logged.
pub async fn a_sealed_value_shows_no_secret(fixture: &dyn SealerFixture) {
    let sealer = fixture.sealer().await;
    let namespace = Namespace::default();
    let secret = Secret::new("a-secret-value");
    let sealed = sealer
        .seal(&secret, &context(&namespace, 1, 1))
        .await
        .unwrap();

    let json = serde_json::to_string(&sealed).unwrap();

    assert_eq!(serde_json::from_str::<Sealed>(&json).unwrap(), sealed);
    let bytes = String::from_utf8_lossy(sealed.data());
    let wrong = sealer.open(&sealed, &context(&namespace, 1, 2)).await;
    let shown = format!("{json} {bytes} {sealed:?} {sealer:?} {wrong:?}");
    assert!(!shown.contains("a-secret-value"), "{shown}");
}

fn context(namespace: &Namespace, connection: u128, generation: u64) -> SealContext<'_> {
    SealContext {
        namespace,
        connection: ConnectionId::from(uuid::Uuid::from_u128(connection)),
        field: "client-secret",
        generation,
    }
}
