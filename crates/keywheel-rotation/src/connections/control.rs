use chrono::{DateTime, TimeDelta, Utc};
use keywheel_connection::{
    Actor, Cause, Connection, ConnectionId, EventKind, Held, Pause, Phase, Rotation, RotationId,
    RotationRequest, RotationSettings, Run,
};
use keywheel_core::{ClientSecret, KeyId};
use keywheel_schedule::{Freeze, Plan, PlanBuilder};

use super::adopt::{adopt, fitting, has_room};
use super::create::enrolled;
use super::{ConnectionError, Connections, Result, stays};
use crate::next_due;

/// What became of a request for a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Requested {
    /// The rotation to follow.
    pub rotation: RotationId,
    /// Whether it was asked for or running already.
    pub joined: bool,
}

/// What a connection is left with when its rotation is disabled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Disabled {
    /// The current secret.
    pub key_id: Option<KeyId>,
    /// When it ends: from then on nobody can authenticate. Events say so before, 60, 30, 14, 7, 3 and 1
    /// days ahead.
    pub ends: Option<DateTime<Utc>>,
}

impl Connections {
    /// Asks for a rotation now, or joins the one that is asked for or running.
    ///
    /// An emergency leaves the replaced secret no grace; one that is in its grace already is revoked at
    /// once, and where that one's rotation waits for nothing else, another rotation follows it: the
    /// secret in use may be the one that leaked.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist, has no rotation or is being deleted, or the
    /// store fails.
    pub async fn rotate_now(
        &self,
        id: ConnectionId,
        cause: Cause,
        actor: &Actor,
    ) -> Result<Requested> {
        let now = self.now();
        let fresh = RotationId::from(self.parts.entropy.uuid());
        let mut joined = None;
        self.change(id, actor, |rotation, _| {
            stays(rotation)?;
            if cause == Cause::Emergency {
                end_grace(rotation, now);
            }
            joined = to_join(rotation, cause);
            let Some(rotation_id) = joined else {
                rotation.request = Some(RotationRequest::new(fresh, cause, now));
                return Ok(Some(EventKind::RotationRequested {
                    rotation: fresh,
                    cause,
                }));
            };
            Ok(
                hurry(rotation, cause).then_some(EventKind::RotationRequested {
                    rotation: rotation_id,
                    cause,
                }),
            )
        })
        .await?;
        Ok(Requested {
            rotation: joined.unwrap_or(fresh),
            joined: joined.is_some(),
        })
    }

    /// Enables the rotation of a connection: again, or for the first time.
    ///
    /// For the first time it does what creating a rotating connection does: the key id of the current
    /// secret is found or checked, and the first rotation is asked for. Later on the settings are replaced as
    /// by [`change_settings`](Self::change_settings).
    ///
    /// # Errors
    ///
    /// Returns an error when Graph refuses the read, when the key id does not fit, or the store fails.
    pub async fn enable(
        &self,
        id: ConnectionId,
        settings: RotationSettings,
        key_id: Option<KeyId>,
        actor: &Actor,
    ) -> Result<()> {
        let stored = self.load(id).await?.connection;
        if stored.rotation.is_some() {
            let now = self.now();
            let enable = |rotation: &mut Rotation, current: &Held| {
                let before = (rotation.enabled, rotation.settings.clone());
                put_settings(rotation, &settings, now)?;
                rotation.enabled = true;
                let (settings, next) = (rotation.settings.clone(), next(rotation, current, now));
                Ok(match before {
                    (true, before) if before == settings => None,
                    (true, _) => Some(EventKind::SettingsChanged {
                        settings: settings.into(),
                        next,
                    }),
                    (false, _) => Some(EventKind::Enabled {
                        settings: settings.into(),
                        next,
                    }),
                })
            };
            return self.change(id, actor, enable).await.map(drop);
        }
        self.enable_first(&stored, settings, key_id, actor).await
    }

    async fn enable_first(
        &self,
        stored: &Connection,
        settings: RotationSettings,
        key_id: Option<KeyId>,
        actor: &Actor,
    ) -> Result<()> {
        let access = self.access(stored).await?;
        let read = self.parts.issuer.inspect(&access).await?;
        let secret = ClientSecret::new(access.secret.clone());
        let secret = secret.map_err(|error| ConnectionError::invalid(error.to_string()))?;
        let adopted = adopt(&read, key_id, &secret)?.clone();
        has_room(&read)?;
        let settings = fitting(settings, &read);
        let fresh = RotationId::from(self.parts.entropy.uuid());
        let now = self.now();
        self.rewrite(stored.id, actor, |connection| {
            if connection.rotation.is_some() {
                return Ok(None);
            }
            if connection.credential != stored.credential {
                return Err(ConnectionError::state(
                    "the connection was given another secret meanwhile; try again",
                ));
            }
            connection.application = Some(read.application);
            if let Some(secrets) = connection.credential.secrets_mut() {
                secrets.current.key_id = adopted.key_id;
                secrets.current.end = adopted.end;
            }
            connection.rotation = Some(enrolled(settings.clone(), fresh, now));
            Ok(Some(EventKind::RotationRequested {
                rotation: fresh,
                cause: Cause::Initial,
            }))
        })
        .await
        .map(drop)
    }

    /// Stops following the plan. A rotation that has begun is finished, and the current secret is watched
    /// to its end.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no rotation, or the store fails.
    pub async fn disable(&self, id: ConnectionId, actor: &Actor) -> Result<Disabled> {
        let connection = self
            .change(id, actor, |rotation, current| {
                let was = std::mem::replace(&mut rotation.enabled, false);
                Ok(was.then_some(EventKind::Disabled {
                    key_id: current.key_id,
                    end: current.end,
                }))
            })
            .await?;
        let current = connection.secrets().map(|secrets| &secrets.current);
        Ok(Disabled {
            key_id: current.and_then(|held| held.key_id),
            ends: current.and_then(|held| held.end),
        })
    }

    /// Holds the rotation at the next safe point: nothing new begins, and what was replaced is kept.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no rotation, or the store fails.
    pub async fn pause(
        &self,
        id: ConnectionId,
        reason: impl Into<String>,
        actor: &Actor,
    ) -> Result<()> {
        let (since, reason) = (self.now(), reason.into());
        self.change(id, actor, |rotation, _| {
            if rotation.pause.is_some() {
                return Ok(None);
            }
            let reason = reason.clone();
            rotation.pause = Some(Pause::new(since, reason.clone()));
            Ok(Some(EventKind::Paused { reason }))
        })
        .await
        .map(drop)
    }

    /// Ends a pause, and tries at once what was waiting after trouble.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no rotation, or the store fails.
    pub async fn resume(&self, id: ConnectionId, actor: &Actor) -> Result<()> {
        let now = self.now();
        self.change(id, actor, |rotation, _| {
            let paused = rotation.pause.take().is_some();
            let waiting = retry_now(rotation, now);
            Ok((paused || waiting).then_some(EventKind::Resumed { paused }))
        })
        .await
        .map(drop)
    }

    /// Adds dates on which no rotation begins by itself. The end of a secret beats them. Dates that are frozen
    /// already are no error and change nothing, so this may be asked for again; freezes that went by are dropped.
    ///
    /// A freeze is lifted by [`change_settings`](Self::change_settings) with a plan without it:
    /// [`PlanBuilder::thaw`](keywheel_schedule::PlanBuilder::thaw) makes one.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no rotation, or the store fails.
    pub async fn freeze(&self, id: ConnectionId, freeze: Freeze, actor: &Actor) -> Result<()> {
        let now = self.now();
        // What ended before is over in every zone, and by a clock that is a day ahead too.
        let over = (now - TimeDelta::days(2)).date_naive();
        self.change(id, actor, |rotation, current| {
            let before = &rotation.settings.plan;
            if plan(before.to_builder().freeze(freeze))? == *before {
                return Ok(None);
            }
            let builder = before.to_builder().without_freezes_before(over);
            rotation.settings.plan = plan(builder.freeze(freeze))?;
            let next = next(rotation, current, now);
            Ok(Some(EventKind::Frozen { freeze, next }))
        })
        .await
        .map(drop)
    }

    /// Gives up the rotation that runs: a new secret that is not in use yet is removed.
    ///
    /// # Errors
    ///
    /// Returns an error when nothing runs, or when its secret is in use already: roll it back then.
    pub async fn abort(&self, id: ConnectionId, actor: &Actor) -> Result<()> {
        self.change(id, actor, |rotation, _| {
            if let Some(offer) = rotation.offer.take() {
                return Ok(Some(EventKind::Withdrawn {
                    rotation: offer.rotation,
                    key_id: Some(offer.key_id),
                }));
            }
            match (rotation.run, rotation.request) {
                (Some(run), _) if run.promoted_at.is_some() => Err(ConnectionError::state(
                    "the new secret is in use already; roll the rotation back while the one before is in its \
                     grace",
                )),
                (None, None) => Err(ConnectionError::state("no rotation runs")),
                (None, Some(request)) => {
                    rotation.request = None;
                    Ok(Some(EventKind::Withdrawn {
                        rotation: request.id,
                        key_id: None,
                    }))
                }
                (Some(_), _) if rotation.abort => Ok(None),
                (Some(run), _) => {
                    rotation.abort = true;
                    Ok(Some(EventKind::AbortRequested { rotation: run.id }))
                }
            }
        })
        .await
        .map(drop)
    }

    /// Changes when and how a connection rotates. Takes effect at once: the next run is the first date of
    /// the new plan from now on. A rotation that has begun goes on.
    ///
    /// All of the settings are replaced. Only the delay that [spreads](crate::NewConnection::spread_over) the
    /// connection stays, unless the plan has a jitter of its own; one without a span takes it away.
    ///
    /// # Errors
    ///
    /// Returns an error when the connection does not exist or has no rotation, when the delay that stays is
    /// longer than the new plan's interval, or when the store fails.
    pub async fn change_settings(
        &self,
        id: ConnectionId,
        settings: RotationSettings,
        actor: &Actor,
    ) -> Result<()> {
        let now = self.now();
        self.change(id, actor, |rotation, current| {
            let before = rotation.settings.clone();
            put_settings(rotation, &settings, now)?;
            let same = rotation.settings == before;
            Ok((!same).then(|| EventKind::SettingsChanged {
                settings: rotation.settings.clone().into(),
                next: next(rotation, current, now),
            }))
        })
        .await
        .map(drop)
    }
}

fn plan(builder: PlanBuilder) -> Result<Plan> {
    let plan = builder.build();
    plan.map_err(|error| ConnectionError::invalid(error.to_string()))
}

/// The rotation that a request joins. An emergency joins none whose new secret is in use: it may be the
/// one that leaked.
fn to_join(rotation: &Rotation, cause: Cause) -> Option<RotationId> {
    let done = |run: &Run| cause == Cause::Emergency && run.promoted_at.is_some();
    let running = rotation.run.filter(|run| !done(run)).map(|run| run.id);
    let offered = rotation.offer.as_ref().map(|offer| offer.rotation);
    let requested = rotation.request.map(|request| request.id);
    running.or(offered).or(requested)
}

/// Due dates of a new plan that have gone by are not its.
fn put_settings(
    rotation: &mut Rotation,
    settings: &RotationSettings,
    now: DateTime<Utc>,
) -> Result<()> {
    let mut settings = settings.clone();
    let plan = &settings.plan;
    if let Some(jitter) = rotation
        .settings
        .plan
        .jitter()
        .filter(|_| plan.jitter().is_none())
    {
        let plan = plan.to_builder().jitter(jitter).build();
        settings.plan = plan.map_err(|error| ConnectionError::invalid(error.to_string()))?;
    }
    if rotation.enabled && rotation.settings.plan != settings.plan {
        rotation.since = rotation.since.max(now);
    }
    rotation.settings = settings;
    Ok(())
}

fn next(rotation: &Rotation, current: &Held, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    next_due(rotation, current, now).map(|(at, _)| at)
}

/// The replaced secret has no grace any more.
fn end_grace(rotation: &mut Rotation, now: DateTime<Utc>) {
    for debt in &mut rotation.debts {
        debt.due = debt.due.min(debt.since);
        debt.next_at = debt.next_at.min(now);
    }
}

/// Turns a rotation in progress into an emergency, if that is what is asked for.
fn hurry(rotation: &mut Rotation, cause: Cause) -> bool {
    if cause != Cause::Emergency {
        return false;
    }
    if let Some(run) = &mut rotation.run {
        run.cause = cause;
        run.mint_after = None;
    }
    if let Some(request) = &mut rotation.request {
        request.cause = cause;
    }
    true
}

fn retry_now(rotation: &mut Rotation, now: DateTime<Utc>) -> bool {
    let run = rotation.run.as_mut();
    let held = run.and_then(|run| run.mint_after.take()).is_some();
    let Some(trouble) = &mut rotation.trouble else {
        return held;
    };
    trouble.retry_at = now;
    for marker in &mut rotation.dead_markers {
        marker.next_at = marker.next_at.min(now);
    }
    for debt in &mut rotation.debts {
        if debt.attempts > 0 {
            debt.next_at = debt.next_at.min(now);
        }
    }
    if let Phase::Proving(candidate) = &mut rotation.phase {
        candidate.next_at = candidate.next_at.min(now);
    }
    true
}
