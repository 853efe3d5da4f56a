use std::collections::{HashMap, VecDeque};

use keywheel_connection::{ConnectionId, Cursor, Entry};

/// The stretch of the outbox that is being worked on: read, and not acknowledged yet.
///
/// Of each connection one entry is out at a time, so that its order is kept; one that takes long does not
/// hold up the others.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// In the order of the outbox; whether each is done with.
    places: VecDeque<(Cursor, bool)>,
    /// What waits, by connection. A connection with an entry out has a queue here, perhaps an empty one.
    queues: HashMap<ConnectionId, VecDeque<(Cursor, Entry)>>,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Where to read on.
    pub(super) fn end(&self) -> Option<Cursor> {
        self.places.back().map(|(cursor, _)| *cursor)
    }

    /// Takes an entry that was read. Returns it when it can go out at once.
    pub(super) fn read(&mut self, cursor: Cursor, entry: Entry) -> Option<(Cursor, Entry)> {
        self.places.push_back((cursor, false));
        match self.queues.get_mut(&entry.connection) {
            Some(queue) => {
                queue.push_back((cursor, entry));
                None
            }
            None => {
                self.queues.insert(entry.connection, VecDeque::new());
                Some((cursor, entry))
            }
        }
    }

    /// Notes that an entry is done with. Returns the connection's next one.
    pub(super) fn done(
        &mut self,
        connection: ConnectionId,
        cursor: Cursor,
    ) -> Option<(Cursor, Entry)> {
        if let Ok(place) = self.places.binary_search_by_key(&cursor, |(at, _)| *at) {
            self.places[place].1 = true;
        }
        let next = self.queues.get_mut(&connection)?.pop_front();
        if next.is_none() {
            self.queues.remove(&connection);
        }
        next
    }

    /// Takes off what is done with from the front, and returns how far that is.
    pub(super) fn settled(&mut self) -> Option<Cursor> {
        let mut settled = None;
        while let Some((cursor, true)) = self.places.front() {
            settled = Some(*cursor);
            self.places.pop_front();
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use keywheel_connection::Digest;
    use uuid::Uuid;

    use super::*;

    fn entry(connection: u128, seq: u64) -> Entry {
        let connection = Uuid::from_u128(connection).into();
        Entry::stored(connection, seq, String::new(), Digest::default())
    }

    #[test]
    fn one_entry_of_a_connection_is_out_at_a_time() {
        let mut window = Window::default();

        assert!(window.read(Cursor(1), entry(1, 1)).is_some());
        assert!(window.read(Cursor(2), entry(1, 2)).is_none());
        assert!(window.read(Cursor(5), entry(2, 1)).is_some());
        let next = window.done(Uuid::from_u128(1).into(), Cursor(1));
        assert_eq!(next, Some((Cursor(2), entry(1, 2))));
        assert_eq!(window.done(Uuid::from_u128(1).into(), Cursor(2)), None);
        assert!(window.read(Cursor(6), entry(1, 3)).is_some());
    }

    #[test]
    fn nothing_is_settled_beyond_the_first_that_is_not() {
        let mut window = Window::default();
        for (cursor, connection) in [(1, 1), (2, 2), (3, 3)] {
            window.read(Cursor(cursor), entry(connection, 1));
        }

        window.done(Uuid::from_u128(2).into(), Cursor(2));
        assert_eq!(window.settled(), None);
        window.done(Uuid::from_u128(1).into(), Cursor(1));
        assert_eq!(window.settled(), Some(Cursor(2)));
        assert_eq!((window.len(), window.end()), (1, Some(Cursor(3))));
    }
}
