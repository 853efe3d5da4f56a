use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use chrono::{DateTime, SubsecRound, Utc};
use keywheel_connection::{
    Access, Connection, ConnectionId, CredentialIssuer, Inspection, IssuerError, IssuerErrorKind,
    Listed, Marker, Minted, Proof, Removal,
};
use keywheel_core::{ClientId, KeyId, Secret};

use super::directory::{By, Lags};
use super::faults::{Call, Fate};
use super::mutant::Mutant;
use super::nature::Landing;
use super::promises::Errand;
use super::record::Record;
use super::world::{Moment, State, World, milliseconds};

/// The directory as one process reaches it.
#[derive(Debug)]
pub(crate) struct Issuer {
    world: World,
    process: usize,
    tokens: Mutex<Vec<Token>>,
}

/// A token that a process keeps.
#[derive(Debug)]
struct Token {
    /// Of which connection, and of which of its generations.
    of: (ConnectionId, u64),
    /// The secret that it was obtained with.
    key_id: KeyId,
    until: Moment,
}

const HOUR: i64 = 3_600_000;

impl Issuer {
    pub(crate) fn new(world: World, process: usize) -> Self {
        Self {
            world,
            process,
            tokens: Mutex::default(),
        }
    }

    /// Carries a call out as its fate wants it. `late` says what lands when it is late.
    async fn call<T>(
        &self,
        errand: Errand,
        late: Option<Landing>,
        carry_out: impl FnOnce(&mut State, Moment) -> Result<T, IssuerError> + Send,
    ) -> Result<T, IssuerError> {
        let call = errand.call;
        let left = self.world.now();
        self.world.state().leaves(self.process, left, errand);
        let fate = self.world.begin(self.process, call).await;
        let unknown = late.is_some();
        let answer = {
            let now = self.world.now();
            let state = &mut *self.world.state();
            match (fate, late) {
                (Fate::Late | Fate::CrashLate, Some(landing)) => {
                    let at = now.plus(state.chance.span(20_000));
                    state.nature.land(at, landing);
                    Err(lost(unknown))
                }
                (Fate::Late | Fate::CrashLate | Fate::RequestLost, _) => Err(lost(unknown)),
                (Fate::Refused, _) => Err(passing(state, self.process, now, errand)),
                _ => {
                    let answer = carry_out(state, now);
                    let heard = answer.as_ref().map(|_| ()).map_err(IssuerError::kind);
                    state
                        .trace
                        .note(now, Some(self.process), format_args!("{call:?}: {heard:?}"));
                    answer
                }
            }
        };
        self.world.end(self.process, fate).await;
        match fate {
            Fate::AnswerLost => Err(lost(unknown)),
            _ => answer,
        }
    }

    fn keep_token(&self, of: (ConnectionId, u64), key_id: KeyId, now: Moment) {
        let mut tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        tokens.retain(|token| token.of != of && now < token.until);
        let until = now.plus(HOUR);
        tokens.push(Token { of, key_id, until });
    }

    fn kept_token(&self, of: (ConnectionId, u64), now: Moment) -> Option<KeyId> {
        let tokens = self.tokens.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kept = tokens.iter().filter(|token| now < token.until);
        kept.find(|token| token.of == of).map(|token| token.key_id)
    }

    /// Authenticates with a token that is kept, or with the secret, or with the one before.
    fn authenticate(
        &self,
        state: &mut State,
        now: Moment,
        access: &Asking,
    ) -> Result<(), IssuerError> {
        let of = (access.by, access.generation);
        if let Some(key_id) = self.kept_token(of, now).filter(|_| state.faults.tokens) {
            note_read(state, key_id, self.process);
            return Ok(());
        }
        let mut refused = Err(IssuerErrorKind::Refused);
        for text in [Some(&access.secret), access.previous.as_ref()] {
            let Some(text) = text else { continue };
            let State {
                directory, chance, ..
            } = state;
            refused = directory.authenticate(access.client, text.expose(), now, chance);
            if let Ok(key_id) = refused {
                note_read(state, key_id, self.process);
                self.keep_token(of, key_id, now);
                return Ok(());
            }
        }
        refused.map(drop).map_err(error)
    }
}

/// A read was answered with a token of this secret.
fn note_read(state: &mut State, key_id: KeyId, process: usize) {
    if let Some(secret) = state.directory.secret_mut(key_id) {
        secret.read_by = Some(process);
    }
}

/// What a call needs of its access.
struct Asking {
    by: ConnectionId,
    client: ClientId,
    generation: u64,
    secret: Secret,
    previous: Option<Secret>,
}

impl Asking {
    fn new(access: &Access<'_>) -> Self {
        Self {
            by: access.by.id,
            client: access.by.client,
            generation: access.generation,
            secret: access.secret.clone(),
            previous: access.previous.clone(),
        }
    }
}

fn error(kind: IssuerErrorKind) -> IssuerError {
    IssuerError::new(kind, format!("the directory says {kind:?}"))
}

fn lost(unknown: bool) -> IssuerError {
    error(if unknown {
        IssuerErrorKind::Unknown
    } else {
        IssuerErrorKind::Unavailable
    })
}

/// A refusal that passes, at times with when to come back.
fn passing(state: &mut State, process: usize, now: Moment, errand: Errand) -> IssuerError {
    let kind = state.chance.pick(&[
        IssuerErrorKind::Busy,
        IssuerErrorKind::Throttled,
        IssuerErrorKind::Throttled,
        IssuerErrorKind::Unavailable,
    ]);
    if kind != IssuerErrorKind::Throttled || state.chance.one_in(2) {
        return error(kind);
    }
    let after = state.chance.between(1, 180) * 1000;
    state.throttled(process, errand, now.plus(after));
    let told = state.mutant != Some(Mutant::ForgetsWhenToRetry);
    error(kind).with_retry_after(told.then_some(milliseconds(after)))
}

#[async_trait]
impl CredentialIssuer for Issuer {
    async fn prove(&self, access: &Access<'_>) -> Result<Proof, IssuerError> {
        let (client, secret) = (access.by.client, access.secret.clone());
        let key = (access.by.id, access.generation);
        if self.world.is(Mutant::BelievesUnproven) {
            return Ok(Proof::default());
        }
        let leaks = self.world.is(Mutant::LeaksSecrets);
        let untold = self.world.is(Mutant::TellsNoTime);
        self.call(errand(access, Call::Prove, None), None, |state, now| {
            let State {
                directory,
                chance,
                truth,
                ..
            } = state;
            let answer = directory.authenticate(client, secret.expose(), now, chance);
            let secrets = &mut directory.application(client).secrets;
            if let Some(tried) = secrets.iter_mut().find(|s| s.text == secret.expose()) {
                tried.proofs += u32::from(answer.is_ok());
                // The token serves the read that follows, in place of one that another secret of this
                // generation left behind. A process that was overtaken takes nothing back.
                let key_id = tried.key_id;
                let stored = |record: &Record| record.has_read_with(key_id);
                if tried.read_by == Some(self.process) && !truth.records.iter().any(stored) {
                    tried.read_by = None;
                }
            }
            if let Ok(key_id) = answer {
                self.keep_token(key, key_id, now);
            }
            if leaks && answer.is_err() {
                let message = format!("the directory does not like {}", secret.expose());
                return Err(IssuerError::new(IssuerErrorKind::Invalid, message));
            }
            let told = Proof::new((!untold).then(|| now.date().trunc_subsecs(0)));
            answer.map(|_| told).map_err(error)
        })
        .await
    }

    async fn inspect(&self, access: &Access<'_>) -> Result<Inspection, IssuerError> {
        let asking = Asking::new(access);
        let client = access.connection.client;
        let by_name = match self.world.is(Mutant::RemovesForeign) {
            true => dead_marker(access.connection),
            false => None,
        };
        let overlooks = self.world.is(Mutant::OverlooksWhatIsAhead);
        let by = access.connection.id;
        let read = self.call(errand(access, Call::Inspect, None), None, |state, now| {
            self.authenticate(state, now, &asking)?;
            let application = state.directory.application(client);
            if application.unusable {
                return Err(error(IssuerErrorKind::ApplicationUnusable));
            }
            let object = application.object();
            let record = state.truth.record(by);
            let listed = application.listed(now, &mut state.chance);
            let listed = listed.filter(|secret| {
                let forgotten = record.is_some_and(|record| !record.is_aware_of(secret));
                !(overlooks && forgotten && secret.marker.is_some())
            });
            let listed = listed.map(|secret| {
                let foreign = by_name.as_ref().filter(|_| secret.marker.is_none());
                let name = foreign.unwrap_or(&secret.name).clone();
                Listed::new(Some(secret.key_id), Some(name))
                    .with(Some(secret.text[..3].to_owned()), Some(secret.end.date()))
            });
            let read = Inspection::new(object, listed.collect());
            Ok(read.with_secret_limit(application.limit))
        });
        match read.await {
            Err(_) if self.world.is(Mutant::ReadsNothing) => {
                let object = self.world.state().directory.application(client).object();
                Ok(Inspection::new(object, Vec::new()))
            }
            read => read,
        }
    }

    async fn mint(
        &self,
        access: &Access<'_>,
        marker: &Marker,
        end: DateTime<Utc>,
    ) -> Result<Minted, IssuerError> {
        let asking = Asking::new(access);
        let client = access.connection.client;
        let marker = *marker;
        let send = || {
            let late = Landing::Mint {
                client,
                marker,
                end,
            };
            self.call(
                errand(access, Call::Mint, None),
                Some(late),
                |state, now| {
                    self.authenticate(state, now, &asking)?;
                    mint(state, now, (client, marker), end)
                },
            )
        };
        match send().await {
            Err(e) if e.kind() == IssuerErrorKind::Unknown => {
                if self.world.is(Mutant::RepeatsMints) {
                    return send().await;
                }
                let believes = self.world.is(Mutant::BelievesLostMints);
                Err(if believes {
                    error(IssuerErrorKind::Unavailable)
                } else {
                    e
                })
            }
            minted => minted,
        }
    }

    async fn remove(&self, access: &Access<'_>, key_id: &KeyId) -> Result<Removal, IssuerError> {
        let asking = Asking::new(access);
        let (client, by, mut key_id) = (access.connection.client, access.connection.id, *key_id);
        if self.world.is(Mutant::RemovesTheCurrent) {
            let secrets = access.connection.secrets();
            key_id = secrets
                .and_then(|secrets| secrets.current.key_id)
                .unwrap_or(key_id);
        }
        let late = Landing::Remove { client, by, key_id };
        let removed = self.call(
            errand(access, Call::Remove, Some(key_id)),
            Some(late),
            |state, now| {
                self.authenticate(state, now, &asking)?;
                let application = state.directory.application(client);
                if application.unusable {
                    return Err(error(IssuerErrorKind::ApplicationUnusable));
                }
                if application.unpermitted {
                    return Err(error(IssuerErrorKind::Forbidden));
                }
                Ok(remove(state, now, (client, by), key_id))
            },
        );
        match removed.await {
            Ok(Removal::NotFound) if self.world.is(Mutant::BelievesNotFound) => {
                Ok(Removal::Removed)
            }
            removed => removed,
        }
    }
}

fn errand(access: &Access<'_>, call: Call, about: Option<KeyId>) -> Errand {
    Errand {
        of: access.connection.id,
        call,
        about,
    }
}

fn dead_marker(connection: &Connection) -> Option<String> {
    let dead = connection.rotation.as_ref()?.dead_markers.first()?;
    Some(dead.marker.to_string())
}

/// `addPassword`, when it arrives.
pub(crate) fn mint(
    state: &mut State,
    now: Moment,
    (client, marker): (ClientId, Marker),
    end: DateTime<Utc>,
) -> Result<Minted, IssuerError> {
    let lags = lags(state);
    let application = state.directory.application(client);
    let refused = if application.unusable {
        Some(IssuerErrorKind::ApplicationUnusable)
    } else if application.unpermitted {
        Some(IssuerErrorKind::Forbidden)
    } else if application.forbidden {
        Some(IssuerErrorKind::MethodForbidden)
    } else if application.is_full() {
        Some(IssuerErrorKind::LimitReached)
    } else if application
        .longest_life
        .is_some_and(|life| end - now.date() > life)
    {
        Some(IssuerErrorKind::LifetimeTooLong)
    } else {
        None
    };
    if let Some(kind) = refused {
        return Err(error(kind));
    }
    let State {
        directory, chance, ..
    } = state;
    let named = (marker.to_string(), Some(marker));
    let secret = directory.add(client, named, (now, Moment::of(end)), lags, chance);
    let minted = Minted::new(secret.key_id, Secret::new(secret.text.clone()), Some(end));
    state.trace.note(
        now,
        None,
        format_args!("minted {} as {marker}", minted.key_id),
    );
    state.minted(now, marker, minted.key_id);
    Ok(minted)
}

/// `removePassword`, when it arrives.
pub(crate) fn remove(
    state: &mut State,
    now: Moment,
    (client, by): (ClientId, ConnectionId),
    key_id: KeyId,
) -> Removal {
    let lags = lags(state);
    state.removing(now, by, key_id);
    let State {
        directory, chance, ..
    } = state;
    if !directory.application(client).knows(key_id, now, chance) {
        state
            .trace
            .note(now, None, format_args!("{key_id} is not known"));
        return Removal::NotFound;
    }
    directory.remove(key_id, (now, By::Keywheel), lags, chance);
    state
        .trace
        .note(now, None, format_args!("removed {key_id}"));
    Removal::Removed
}

pub(crate) fn lags(state: &State) -> Lags {
    Lags {
        accept: state.faults.accept_lag,
        list: state.faults.list_lag,
    }
}
