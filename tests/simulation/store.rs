use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use futures_util::FutureExt;
use keywheel_connection::{
    Claimed, Connection, ConnectionId, ConnectionName, ConnectionStore, Consumer, Cursor, Entry,
    Holder, Lease, LeaseChange, Namespace, Page, Save, StoreError, StoreErrorKind, Tombstone,
    Version, Versioned, Wake,
};

use super::faults::{Call, Fate};
use super::mutant::Mutant;
use super::nature::Landing;
use super::world::{Moment, PROCESSES, World};

/// The store as one process reaches it: a memory store that is away at times, loses requests and answers,
/// and carries out late what nobody waits for any more. It forgets nothing that it acknowledged.
#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) world: World,
    pub(crate) process: usize,
}

/// When each connection can be claimed, by the store's clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rows(Vec<Row>);

#[derive(Clone, Debug)]
struct Row {
    id: ConnectionId,
    wake_at: Option<DateTime<Utc>>,
    held_until: Option<DateTime<Utc>>,
    lease: Option<Lease>,
}

impl Rows {
    /// Returns the newest leases, given back or not.
    pub(crate) fn leases(&self) -> Vec<Lease> {
        self.0.iter().filter_map(|row| row.lease.clone()).collect()
    }

    /// Returns the earliest time at which something can be claimed.
    pub(crate) fn due(&self) -> Option<DateTime<Utc>> {
        let due = |row: &Row| {
            let wake_at = row.wake_at?;
            Some(row.held_until.map_or(wake_at, |until| until.max(wake_at)))
        };
        self.0.iter().filter_map(due).min()
    }

    /// Returns when a connection wakes.
    pub(crate) fn wake_at(&self, id: ConnectionId) -> Option<DateTime<Utc>> {
        self.0.iter().find(|row| row.id == id)?.wake_at
    }

    /// Forgets every lease.
    pub(crate) fn unheld(mut self) -> Self {
        for row in &mut self.0 {
            (row.held_until, row.lease) = (None, None);
        }
        self
    }

    fn row(&mut self, id: ConnectionId) -> &mut Row {
        let index = self.0.iter().position(|row| row.id == id);
        let index = index.unwrap_or_else(|| {
            self.0.push(Row {
                id,
                wake_at: None,
                held_until: None,
                lease: None,
            });
            self.0.len() - 1
        });
        &mut self.0[index]
    }

    fn remove(&mut self, id: ConnectionId) {
        self.0.retain(|row| row.id != id);
    }

    fn wake(&mut self, id: ConnectionId, wake: Wake) {
        match wake {
            Wake::At(at) => self.row(id).wake_at = Some(at),
            Wake::Keep => {}
            Wake::Never => self.row(id).wake_at = None,
        }
    }

    fn held(&mut self, lease: &Lease, until: Option<DateTime<Utc>>) {
        let row = self.row(lease.connection);
        let newest = row.lease.as_ref().map(|newest| newest.fence);
        if newest <= Some(lease.fence) {
            if newest != Some(lease.fence) {
                row.lease = Some(lease.clone());
            }
            row.held_until = until;
        }
    }
}

/// A save that is on its way.
#[derive(Debug)]
pub(crate) struct PendingSave {
    pub(crate) connection: Connection,
    expected: Version,
    pub(crate) wake: Wake,
    entries: Vec<Entry>,
    pub(crate) lease: Option<(Lease, LeaseChange)>,
    deletes: bool,
}

impl PendingSave {
    pub(crate) fn new(save: &Save<'_>) -> Self {
        Self {
            connection: save.connection.clone(),
            expected: save.expected,
            wake: save.wake,
            entries: save.entries.to_vec(),
            lease: save.lease.map(|(lease, change)| (lease.clone(), change)),
            deletes: save.deletes,
        }
    }

    pub(crate) fn save(&self) -> Save<'_> {
        let mut save = Save::new(&self.connection, self.expected, &self.entries);
        save.wake = self.wake;
        save.lease = self.lease.as_ref().map(|(lease, change)| (lease, *change));
        save.deletes = self.deletes;
        save
    }
}

/// A new connection that is on its way.
#[derive(Debug)]
pub(crate) struct PendingCreate {
    connection: Connection,
    wake_at: Option<DateTime<Utc>>,
    entries: Vec<Entry>,
}

impl World {
    /// Stores a new connection, whoever is waiting for it.
    pub(crate) fn create(&self, new: &PendingCreate) -> Result<Version, StoreError> {
        let PendingCreate {
            connection,
            wake_at,
            entries,
        } = new;
        let created = ready(self.store().create(connection, *wake_at, entries))?;
        let now = self.now();
        let state = &mut *self.state();
        state.rows.row(connection.id).wake_at = *wake_at;
        state.created(now, connection, entries);
        self.changed();
        Ok(created)
    }

    /// Writes, whoever is waiting for it.
    pub(crate) fn commit(&self, save: Save<'_>) -> Result<Version, StoreError> {
        let store = self.store();
        let version = ready(store.save(save.clone()))?;
        let id = save.connection.id;
        // The store's copy, and one of our own only of what it does not have any more.
        let stored = ready(store.load(id))?.map(|stored| stored.connection);
        let stored = stored.unwrap_or_else(|| Arc::new(save.connection.clone()));
        let (now, store_now) = (self.now(), self.store_now());
        let state = &mut *self.state();
        state.rows.wake(id, save.wake);
        if let Some((lease, change)) = save.lease {
            state.rows.held(lease, until(store_now, change));
        }
        if save.deletes {
            state.rows.remove(id);
        }
        state.committed(now, &save, stored);
        self.changed();
        Ok(version)
    }

    fn store_now(&self) -> DateTime<Utc> {
        self.now().plus(self.offset(PROCESSES)).date()
    }

    /// Returns the true time at which the store has something to claim.
    pub(crate) fn due(&self) -> Moment {
        let due = self.state().rows.due();
        due.map_or(Moment::NEVER, |due| {
            Moment::of(due).plus(-self.offset(PROCESSES))
        })
    }
}

fn until(now: DateTime<Utc>, change: LeaseChange) -> Option<DateTime<Utc>> {
    match change {
        LeaseChange::Extend(span) => Some(now + span),
        LeaseChange::Release => None,
    }
}

fn away() -> StoreError {
    StoreError::new(StoreErrorKind::Unavailable, "the store is away")
}

impl Store {
    async fn ask<T>(
        &self,
        ask: impl FnOnce(&World) -> Result<T, StoreError> + Send,
    ) -> Result<T, StoreError> {
        let fate = self.world.begin(self.process, Call::Store).await;
        let answer = match fate {
            Fate::Fine | Fate::CrashAfter | Fate::AnswerLost => ask(&self.world),
            _ => Err(away()),
        };
        self.answered(fate, answer).await
    }

    /// Ends a call, and loses its answer if that is its fate.
    async fn answered<T>(
        &self,
        fate: Fate,
        answer: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        self.world.end(self.process, fate).await;
        if fate == Fate::AnswerLost {
            Err(away())
        } else {
            answer
        }
    }

    /// What nobody waits for any more is written within twenty seconds.
    fn lands_later(&self, landing: Landing) {
        let state = &mut *self.world.state();
        let at = self.world.now().plus(state.chance.span(20_000));
        state.nature.land(at, landing);
    }

    fn note_claims(&self, claims: &[Claimed]) {
        let (now, store_now) = (self.world.now(), self.world.store_now());
        let state = &mut *self.world.state();
        for Claimed { lease, .. } in claims {
            state.rows.held(lease, Some(store_now + lease.span));
            let (id, fence) = (lease.connection, lease.fence.0);
            state.reads(self.process, id);
            state.trace.note(
                now,
                Some(self.process),
                format_args!("leases {id}, fence {fence}"),
            );
        }
    }
}

#[async_trait]
impl ConnectionStore for Store {
    async fn create(
        &self,
        connection: &Connection,
        wake_at: Option<DateTime<Utc>>,
        entries: &[Entry],
    ) -> Result<Version, StoreError> {
        let new = PendingCreate {
            connection: connection.clone(),
            wake_at,
            entries: entries.to_vec(),
        };
        let fate = self.world.begin(self.process, Call::Save).await;
        let answer = match fate {
            Fate::Fine | Fate::AnswerLost | Fate::CrashAfter => self.world.create(&new),
            Fate::Late | Fate::CrashLate => {
                self.lands_later(Landing::Create(Box::new(new)));
                Err(away())
            }
            Fate::CrashBefore | Fate::RequestLost | Fate::Refused => Err(away()),
        };
        self.answered(fate, answer).await
    }

    async fn load(&self, id: ConnectionId) -> Result<Option<Versioned>, StoreError> {
        self.ask(|world| ready(world.store().load(id))).await
    }

    async fn find(
        &self,
        namespace: &Namespace,
        name: &ConnectionName,
    ) -> Result<Option<Versioned>, StoreError> {
        self.ask(|world| ready(world.store().find(namespace, name)))
            .await
    }

    async fn list(&self, page: Page<'_>) -> Result<Vec<Versioned>, StoreError> {
        self.ask(|world| ready(world.store().list(page))).await
    }

    async fn ids(
        &self,
        after: Option<ConnectionId>,
        limit: u32,
    ) -> Result<Vec<ConnectionId>, StoreError> {
        self.ask(|world| ready(world.store().ids(after, limit)))
            .await
    }

    async fn save(&self, save: Save<'_>) -> Result<Version, StoreError> {
        let changed = Mutant::change(&self.world, &save);
        let save = changed.as_ref().map_or(save, |changed| changed.save());
        let fate = self.world.begin(self.process, Call::Save).await;
        let answer = match fate {
            Fate::Fine | Fate::AnswerLost | Fate::CrashAfter => self.world.commit(save),
            Fate::Late | Fate::CrashLate => {
                self.lands_later(Landing::Save(Box::new(PendingSave::new(&save))));
                Err(away())
            }
            Fate::CrashBefore | Fate::RequestLost | Fate::Refused => Err(away()),
        };
        self.answered(fate, answer).await
    }

    async fn tombstone(&self, id: ConnectionId) -> Result<Option<Tombstone>, StoreError> {
        self.ask(|world| ready(world.store().tombstone(id))).await
    }

    async fn lease(
        &self,
        id: ConnectionId,
        holder: Holder,
        span: Duration,
    ) -> Result<Claimed, StoreError> {
        self.ask(|world| {
            let claimed = ready(world.store().lease(id, holder, span))?;
            self.note_claims(std::slice::from_ref(&claimed));
            Ok(claimed)
        })
        .await
    }

    async fn claim_due(
        &self,
        holder: Holder,
        limit: u32,
        span: Duration,
    ) -> Result<Vec<Claimed>, StoreError> {
        self.ask(|world| {
            if world.is(Mutant::LeavesOutLeases) {
                for lease in world.state().rows.leases() {
                    ready(world.store().release(&lease))?;
                }
            }
            let claims = ready(world.store().claim_due(holder, limit, span))?;
            self.note_claims(&claims);
            Ok(claims)
        })
        .await
    }

    async fn renew(&self, lease: &Lease, span: Duration) -> Result<(), StoreError> {
        self.ask(|world| {
            ready(world.store().renew(lease, span))?;
            let until = world.store_now() + span;
            world.state().rows.held(lease, Some(until));
            Ok(())
        })
        .await
    }

    async fn release(&self, lease: &Lease) -> Result<(), StoreError> {
        self.ask(|world| {
            ready(world.store().release(lease))?;
            world.state().rows.held(lease, None);
            world.changed();
            Ok(())
        })
        .await
    }

    async fn entries(
        &self,
        cursor: Cursor,
        limit: u32,
    ) -> Result<Vec<(Cursor, Entry)>, StoreError> {
        self.ask(|world| ready(world.store().entries(cursor, limit)))
            .await
    }

    async fn journal(
        &self,
        id: ConnectionId,
        after: u64,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        self.ask(|world| ready(world.store().journal(id, after, limit)))
            .await
    }

    async fn acknowledge(&self, consumer: &Consumer, cursor: Cursor) -> Result<(), StoreError> {
        self.ask(|world| ready(world.store().acknowledge(consumer, cursor)))
            .await
    }

    async fn acknowledged(&self, consumer: &Consumer) -> Result<Cursor, StoreError> {
        self.ask(|world| ready(world.store().acknowledged(consumer)))
            .await
    }

    async fn lead(
        &self,
        consumer: &Consumer,
        holder: Holder,
        span: Duration,
    ) -> Result<bool, StoreError> {
        self.ask(|world| ready(world.store().lead(consumer, holder, span)))
            .await
    }
}

/// A memory store never waits.
pub(crate) fn ready<T>(
    answer: impl Future<Output = Result<T, StoreError>>,
) -> Result<T, StoreError> {
    answer.now_or_never().unwrap_or_else(|| Err(away()))
}
