//! Claims about connections: creating, reading, renaming, saving, deleting.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::sample::{change, connection, holder, rotating};
use super::{Fixture, numbers, refused, seconds};
use crate::{
    Connection, ConnectionId, ConnectionStore, ConnectionStoreExt, Namespace, Page, Save,
    StoreErrorKind, Tombstone, Version,
};

/// What was created is read back, by id and by name.
pub async fn a_new_connection_is_read_back_as_it_was(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (connection, entries) = rotating(1, "one");

    let version = store.create(&connection, None, &entries).await.unwrap();

    let by_id = store.load(connection.id).await.unwrap().unwrap();
    let by_name = store.find(&connection.namespace, &connection.name).await;
    assert_eq!(by_id.version, version);
    assert_eq!(by_id.connection.encode(), connection.encode());
    assert_eq!(by_name.unwrap(), Some(by_id));
    let (other, _) = super::sample::connection(2, "two");
    assert_eq!(store.load(other.id).await.unwrap(), None);
    let by_name = store.find(&other.namespace, &other.name).await.unwrap();
    assert_eq!(by_name, None);
}

/// Two connections of one namespace have two names.
pub async fn names_are_unique_in_their_namespace(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (first, entries) = connection(1, "name");
    store.create(&first, None, &entries).await.unwrap();

    let (same, entries) = connection(2, "name");
    let error = refused(store.create(&same, None, &entries).await);
    assert_eq!(error, StoreErrorKind::NameTaken);
    assert_eq!(store.load(same.id).await.unwrap(), None);
    assert_eq!(store.whole_journal(same.id).await.unwrap(), []);

    let elsewhere = in_namespace("other", same);
    store.create(&elsewhere, None, &entries).await.unwrap();
    let (cased, entries) = connection(3, "Name");
    store.create(&cased, None, &entries).await.unwrap();
}

/// Neither that of a connection nor that of a deleted one.
pub async fn an_id_is_never_used_twice(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (first, entries) = connection(1, "first");
    let version = store.create(&first, None, &entries).await.unwrap();

    let (again, entries) = connection(1, "again");
    let error = refused(store.create(&again, None, &entries).await);
    assert_eq!(error, StoreErrorKind::Conflict);
    store
        .save(Save::new(&first, version, &[]).deleting())
        .await
        .unwrap();
    let error = refused(store.create(&again, None, &entries).await);
    assert_eq!(error, StoreErrorKind::Conflict);
}

/// Whatever the size of the pages.
pub async fn pages_hold_every_connection_once_and_in_order(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let mut expected = Vec::new();
    for (n, namespace) in (0..).zip(["b", "a", "b", "B", "a", "c", "a"]) {
        let (connection, entries) = connection(n, &format!("name-{}", n % 6));
        let connection = in_namespace(namespace, connection);
        store.create(&connection, None, &entries).await.unwrap();
        expected.push(Arc::new(connection));
    }
    let place =
        |connection: &Arc<Connection>| (connection.namespace.clone(), connection.name.clone());
    expected.sort_by_key(place);

    for limit in [1, 2, 7, 100] {
        let mut read: Vec<Arc<Connection>> = Vec::new();
        loop {
            let mut page = Page::of_all(limit);
            if let Some(last) = read.last() {
                page = page.after(last);
            }
            let page = store.list(page).await.unwrap();
            if page.is_empty() {
                break;
            }
            assert!(page.len() <= limit as usize, "{}", page.len());
            read.extend(page.into_iter().map(|stored| stored.connection));
        }
        assert_eq!(read, expected, "pages of {limit}");
    }
}

/// Whatever they are called, and until they are deleted.
pub async fn ids_are_read_once_and_in_order(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    assert_eq!(store.ids(None, 10).await.unwrap(), []);
    let mut expected = Vec::new();
    for n in 0..7 {
        let (connection, entries) = connection(n, &format!("name-{n}"));
        let connection = in_namespace(["a", "b"][n as usize % 2], connection);
        let version = store.create(&connection, None, &entries).await.unwrap();
        if n == 3 {
            let deletion = Save::new(&connection, version, &[]).deleting();
            store.save(deletion).await.unwrap();
        } else {
            expected.push(connection.id);
        }
    }
    expected.sort();

    for limit in [1, 2, 6, 100] {
        let mut read: Vec<ConnectionId> = Vec::new();
        loop {
            let ids = store.ids(read.last().copied(), limit).await.unwrap();
            if ids.is_empty() {
                break;
            }
            assert!(ids.len() <= limit as usize, "{}", ids.len());
            read.extend(ids);
        }
        assert_eq!(read, expected, "pages of {limit}");
    }
}

/// Not even when the page begins in another one.
pub async fn a_page_of_one_namespace_shows_no_other(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let mut mine = Vec::new();
    for (n, namespace) in (0..).zip(["a", "b", "b", "c"]) {
        let (connection, entries) = connection(n, &format!("name-{n}"));
        let connection = in_namespace(namespace, connection);
        store.create(&connection, None, &entries).await.unwrap();
        mine.push(connection);
    }
    let b: Namespace = "b".parse().unwrap();

    let store = &store;
    let names = |page| async move {
        let page = store.list(page).await.unwrap();
        let names = page.iter().map(|stored| stored.connection.name.clone());
        names.map(String::from).collect::<Vec<_>>()
    };

    assert_eq!(names(Page::of(&b, 10)).await, ["name-1", "name-2"]);
    let from_a = Page::of(&b, 10).after(&mine[0]);
    assert_eq!(names(from_a).await, ["name-1", "name-2"]);
    assert_eq!(names(Page::of(&b, 10).after(&mine[1])).await, ["name-2"]);
    let from_c = Page::of(&b, 10).after(&mine[3]);
    assert!(names(from_c).await.is_empty());
}

/// With everything that a rotation notes, and its entries beside it.
pub async fn a_save_is_read_back_as_it_was(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (before, first) = connection(1, "one");
    let created = store.create(&before, None, &first).await.unwrap();
    let (mut after, _) = rotating(1, "one");
    let second = change(&mut after, "again");

    let entries = [second];
    let saved = store.save(Save::new(&after, created, &entries)).await;

    let saved = saved.unwrap();
    assert!(saved > created, "{saved:?} after {created:?}");
    let stored = store.load(after.id).await.unwrap().unwrap();
    assert_eq!(stored.version, saved);
    assert_eq!(stored.connection.encode(), after.encode());
    let journal = store.whole_journal(after.id).await.unwrap();
    assert_eq!(journal, [first, entries.to_vec()].concat());
}

/// And leaves nothing behind.
pub async fn a_save_of_an_older_version_is_refused(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (mut connection, entries) = connection(1, "one");
    let created = store.create(&connection, None, &entries).await.unwrap();
    let mut stale = connection.clone();
    let entry = change(&mut connection, "first");
    let saved = store.save(Save::new(&connection, created, &[entry])).await;
    let saved = saved.unwrap();

    let entry = change(&mut stale, "second");
    let error = refused(store.save(Save::new(&stale, created, &[entry])).await);

    assert_eq!(error, StoreErrorKind::Conflict);
    let stored = store.load(connection.id).await.unwrap().unwrap();
    assert_eq!((stored.version, &*stored.connection), (saved, &connection));
    let never = Version(u64::MAX >> 1);
    let error = refused(store.save(Save::new(&stale, never, &[])).await);
    assert_eq!(error, StoreErrorKind::Conflict);
}

/// The others are refused, and the journal holds one entry more.
pub async fn of_many_saves_of_one_version_one_is_made(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (connection, entries) = connection(1, "one");
    let created = store.create(&connection, None, &entries).await.unwrap();

    let saves = (0..24).map(|n| {
        let (store, mut connection) = (store.clone(), connection.clone());
        async move {
            let entries = [change(&mut connection, &format!("by {n}"))];
            let save = Save::new(&connection, created, &entries);
            store.save(save).await.map(|_| connection)
        }
    });
    let results = join_all(saves).await;

    let (made, refused): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!(made.len(), 1, "{made:?}");
    for error in refused {
        assert_eq!(error.unwrap_err().kind(), StoreErrorKind::Conflict);
    }
    let stored = store.load(connection.id).await.unwrap().unwrap();
    assert_eq!(Some(&*stored.connection), made[0].as_ref().ok());
    store.verify(connection.id).await.unwrap();
}

/// The old name is free.
pub async fn a_renamed_connection_has_its_new_name_only(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (mut renamed, entries) = connection(1, "before");
    let version = store.create(&renamed, None, &entries).await.unwrap();
    let before = renamed.name.clone();
    renamed.name = "after".parse().unwrap();
    let entry = change(&mut renamed, "name");

    let version = store.save(Save::new(&renamed, version, &[entry])).await;

    version.unwrap();
    let namespace = Namespace::default();
    let found = store.find(&namespace, &renamed.name).await.unwrap();
    assert_eq!(*found.unwrap().connection, renamed);
    assert_eq!(store.find(&namespace, &before).await.unwrap(), None);
    let (next, entries) = connection(2, "before");
    store.create(&next, None, &entries).await.unwrap();
}

/// Also when other saves are made at the same time.
pub async fn a_taken_name_is_refused_and_nothing_changed(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let mut saves = Vec::new();
    for n in 0..8 {
        let (mut connection, entries) = connection(n, &format!("name-{n}"));
        let version = store.create(&connection, None, &entries).await.unwrap();
        if n == 3 {
            connection.name = "name-0".parse().unwrap();
        }
        let entry = change(&mut connection, "name");
        saves.push((connection, version, [entry]));
    }

    let made = saves.iter().map(|(connection, version, entries)| {
        let save = Save::new(connection, *version, entries);
        store.save(save)
    });
    let results = join_all(made).await;

    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(_) => assert_ne!(n, 3),
            Err(error) => assert_eq!((n, error.kind()), (3, StoreErrorKind::NameTaken)),
        }
    }
    let (connection, version, _) = &saves[3];
    let stored = store.load(connection.id).await.unwrap().unwrap();
    assert_eq!(stored.version, *version);
    assert_eq!(stored.connection.name.as_str(), "name-3");
    for (connection, _, _) in &saves {
        store.verify(connection.id).await.unwrap();
    }
}

/// Its name is free, and nothing more is written to it.
pub async fn a_deleted_connection_leaves_its_tombstone_and_its_journal(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (mut gone, first) = connection(1, "gone");
    let due = fixture.now().await;
    let created = store.create(&gone, Some(due), &first).await.unwrap();
    let claimed = store.lease(gone.id, holder(1), seconds(60)).await.unwrap();
    assert_eq!(store.tombstone(gone.id).await.unwrap(), None);
    let entry = change(&mut gone, "deleted");

    let version = store
        .save(Save::new(&gone, created, std::slice::from_ref(&entry)).deleting())
        .await
        .unwrap();

    let expected = Tombstone {
        connection: gone.id,
        namespace: gone.namespace.clone(),
        name: gone.name.clone(),
        version,
        journal: gone.journal,
    };
    assert_eq!(store.tombstone(gone.id).await.unwrap(), Some(expected));
    assert_eq!(store.load(gone.id).await.unwrap(), None);
    assert_eq!(store.list(Page::of_all(10)).await.unwrap(), []);
    assert_eq!(store.verify(gone.id).await.unwrap(), gone.journal);
    let journal = store.whole_journal(gone.id).await.unwrap();
    assert_eq!(journal, [first, vec![entry]].concat());

    let late = Save::new(&gone, version, &[]);
    assert_eq!(refused(store.save(late).await), StoreErrorKind::NotFound);
    let late = store.renew(&claimed.lease, seconds(60)).await;
    assert_eq!(refused(late), StoreErrorKind::NotFound);
    let late = store.lease(gone.id, holder(2), seconds(60)).await;
    assert_eq!(refused(late), StoreErrorKind::NotFound);
    store.release(&claimed.lease).await.unwrap();
    fixture.pass(seconds(61)).await;
    let due = store.claim_due(holder(3), 10, seconds(60)).await;
    assert_eq!(due.unwrap(), []);
    let (next, entries) = connection(2, "gone");
    store.create(&next, None, &entries).await.unwrap();
}

/// Wherever its future is dropped.
pub async fn a_dropped_save_is_made_whole_or_not_at_all(fixture: &dyn Fixture) {
    let store = fixture.empty().await;
    let (mut connection, entries) = connection(1, "one");
    let mut version = store.create(&connection, None, &entries).await.unwrap();
    for n in 0..10 {
        let mut changed = connection.clone();
        let entries = [change(&mut changed, &format!("try {n}"))];
        let save = store.save(Save::new(&changed, version, &entries));
        // Polled once, then dropped.
        drop(save.now_or_never());

        let entries = [change(&mut connection, "kept")];
        let save = Save::new(&connection, version, &entries);
        match store.save(save).await {
            Ok(saved) => version = saved,
            Err(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Conflict);
                let stored = store.load(connection.id).await.unwrap().unwrap();
                assert_eq!(*stored.connection, changed);
                (connection, version) = (changed, stored.version);
            }
        }
        store.verify(connection.id).await.unwrap();
    }
    let journal = store.whole_journal(connection.id).await.unwrap();
    assert_eq!(numbers(&journal), (1..=11).collect::<Vec<_>>());
}

fn in_namespace(namespace: &str, mut connection: Connection) -> Connection {
    connection.namespace = namespace.parse().unwrap();
    connection
}
