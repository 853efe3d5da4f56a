//! The secrets of other applications, through a connection.

use chrono::TimeDelta;
use keywheel_connection::{Cause, ConnectionId, IssuerErrorKind};
use keywheel_core::{ClientId, Cloud};
use keywheel_rotation::{ConnectionErrorKind, Farewell, Health, NewManaged};
use uuid::Uuid;
use workspace_tests::{Rig, other, ours, secret, settings};

use super::me;
use crate::ways::until;

async fn take_on(
    rig: &Rig,
    via: ConnectionId,
    client: ClientId,
) -> Result<ConnectionId, keywheel_rotation::ConnectionError> {
    let new = NewManaged::new("other".parse().unwrap(), via, client, settings());
    let created = rig.connections().create_managed(new, &me()).await?;
    Ok(created.connection.id)
}

#[tokio::test(start_paused = true)]
async fn the_first_secret_is_minted_and_none_that_is_there_is_touched() {
    let (rig, before, _) = Rig::new(501).with_sinks();
    let theirs = rig.directory.add_secret_to(other(), "theirs");
    let via = rig.rotating(settings()).await;
    let own = rig.status(via).await.key_id.unwrap();

    let id = rig.create_managed(via, settings()).await;

    assert_eq!(rig.settle(id, TimeDelta::hours(1)).await, None);
    rig.assert_clean(id, 1).await;
    assert!(rig.directory.has(theirs.key_id) && rig.directory.has(own));
    let minted = rig.status(id).await.key_id.unwrap();
    assert_eq!(before.holds(), Some(rig.directory.text(minted)));
}

#[tokio::test(start_paused = true)]
async fn two_generations_live_and_both_can_be_read_in_grace() {
    let rig = Rig::new(502);
    let via = rig.rotating(settings()).await;
    let id = rig.create_managed(via, settings()).await;
    rig.settle(id, TimeDelta::hours(1)).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.generation == 2).await;

    let read = rig.connections().secrets(id).await.unwrap();

    assert!(rig.directory.holds(read.current.expose()));
    assert!(
        rig.directory
            .holds(read.previous.as_ref().unwrap().expose())
    );
    rig.settle(id, TimeDelta::hours(3)).await;
    let read = rig.connections().secrets(id).await.unwrap();
    assert_eq!(read.generation, 2);
    assert!(read.previous.is_none());
}

#[tokio::test(start_paused = true)]
async fn the_application_that_authenticates_is_refused_and_told_what_to_use() {
    let rig = Rig::new(503);
    let via = rig.rotating(settings()).await;

    let error = take_on(&rig, via, ours()).await.unwrap_err();

    assert_eq!(error.kind(), ConnectionErrorKind::Invalid);
    assert!(
        error.to_string().contains("the connection's own rotation"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn managing_through_what_is_managed_is_refused() {
    let rig = Rig::new(504);
    let via = rig.rotating(settings()).await;
    let id = rig.create_managed(via, settings()).await;

    let error = take_on(&rig, id, Uuid::from_u128(5).into())
        .await
        .unwrap_err();

    assert!(error.to_string().contains(&via.to_string()), "{error}");
    let place = (
        Cloud::default(),
        "contoso.example".parse().unwrap(),
        other(),
    );
    let text = secret(&rig.foreign.text);
    let change = rig
        .connections()
        .change_credential(id, place, &text, None, &me())
        .await;
    let error = change.unwrap_err();
    assert_eq!(error.kind(), ConnectionErrorKind::Invalid);
}

#[tokio::test(start_paused = true)]
async fn the_managing_connection_may_rotate_meanwhile() {
    let rig = Rig::new(505);
    let via = rig.rotating(settings()).await;
    let id = rig.create_managed(via, settings()).await;
    rig.settle(id, TimeDelta::hours(1)).await;
    rig.request(id, Cause::Manual).await;
    until(&rig, id, |status| status.candidate_key_id.is_some()).await;

    rig.request(via, Cause::Emergency).await;
    rig.settle(via, TimeDelta::minutes(5)).await;

    assert_eq!(rig.settle(id, TimeDelta::hours(3)).await, None);
    rig.assert_clean(id, 2).await;
}

#[tokio::test(start_paused = true)]
async fn without_the_managing_connection_it_halts_and_can_be_deleted() {
    let rig = Rig::new(506);
    let via = rig.rotating(settings()).await;
    let id = rig.create_managed(via, settings()).await;
    rig.settle(id, TimeDelta::hours(1)).await;
    let delete = rig.connections().delete(via, Farewell::Leave, &me()).await;
    delete.unwrap();
    rig.request(id, Cause::Manual).await;

    rig.settle(id, TimeDelta::hours(3)).await;

    let status = rig.status(id).await;
    assert_eq!(status.health, Health::Halted);
    let message = status.trouble.unwrap().message;
    assert!(message.contains("managed through"), "{message}");
    let left = rig.connections().delete(id, Farewell::Leave, &me()).await;
    assert_eq!(left.unwrap(), [status.key_id.unwrap()]);
}

#[tokio::test(start_paused = true)]
async fn a_full_application_is_refused_before_anything_is_stored() {
    let rig = Rig::new(507);
    let via = rig.rotating(settings()).await;
    rig.directory.add_secret_to(other(), "one");
    rig.directory.add_secret_to(other(), "two");
    rig.directory.set_limit(Some(2));

    let error = take_on(&rig, via, other()).await.unwrap_err();

    assert!(error.to_string().contains("may hold 2 secrets"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_application_that_may_not_be_written_halts_with_the_reason() {
    let rig = Rig::new(508);
    let via = rig.rotating(settings()).await;
    rig.directory.deny("mint", IssuerErrorKind::Forbidden);
    let id = rig.create_managed(via, settings()).await;

    rig.settle(id, TimeDelta::minutes(5)).await;

    let status = rig.status(id).await;
    assert_eq!((status.generation, status.health), (0, Health::Halted));
    rig.directory.allow_all();
    rig.settle(id, TimeDelta::hours(2)).await;
    rig.assert_clean(id, 1).await;
}

#[tokio::test(start_paused = true)]
async fn deleting_removes_the_secrets_of_the_other_application() {
    let rig = Rig::new(509);
    let via = rig.rotating(settings()).await;
    let id = rig.create_managed(via, settings()).await;
    rig.settle(id, TimeDelta::hours(1)).await;
    let minted = rig.status(id).await.key_id.unwrap();
    let delete = rig.connections().delete(id, Farewell::Revoke, &me()).await;
    delete.unwrap();

    rig.settle(id, TimeDelta::hours(1)).await;

    assert!(!rig.directory.has(minted));
    rig.assert_clean(via, 1).await;
}

/// What a managed application authenticates for may be anything but Graph.
#[tokio::test(start_paused = true)]
async fn a_secret_that_is_supplied_is_found_through_the_managing_connection() {
    let rig = Rig::new(510);
    rig.directory.forbid_graph(other());
    let via = rig.rotating(settings()).await;
    let id = rig.create_managed(via, settings()).await;
    rig.settle(id, TimeDelta::hours(1)).await;
    let given = rig.directory.add_secret_to(other(), "by hand");
    let (connections, text) = (rig.connections(), secret(&given.text));

    let supplied = connections.supply_secret(id, &text, None, &me()).await;

    supplied.unwrap();
    rig.settle(id, TimeDelta::hours(3)).await;
    assert_eq!(rig.status(id).await.key_id, Some(given.key_id));
    rig.assert_clean(id, 2).await;
}

/// By another credential, the managing connection may have become the application that is managed through it.
#[tokio::test(start_paused = true)]
async fn nothing_is_minted_once_the_managing_connection_is_the_application_itself() {
    let rig = Rig::new(511);
    let via = rig.rotating(settings()).await;
    let id = rig.create_managed(via, settings()).await;
    rig.settle(id, TimeDelta::hours(1)).await;
    let given = rig.directory.add_secret_to(other(), "by hand");
    let (connections, text) = (rig.connections(), secret(&given.text));
    let tenant = "contoso.example".parse().unwrap();
    let place = (Cloud::default(), tenant, other());
    let changed = connections
        .change_credential(via, place, &text, None, &me())
        .await;
    changed.unwrap();
    let mints = rig.directory.mint_calls().len();

    rig.request(id, Cause::Manual).await;
    rig.settle(id, TimeDelta::hours(1)).await;

    let status = rig.status(id).await;
    assert_eq!(status.health, Health::Halted);
    let message = status.trouble.unwrap().message;
    let why = "the connection's own rotation";
    assert!(message.contains(why), "{message}");
    assert_eq!(rig.directory.mint_calls().len(), mints);
    let supplied = connections.supply_secret(id, &text, None, &me()).await;
    let error = supplied.unwrap_err();
    assert!(error.to_string().contains(why), "{error}");
}
