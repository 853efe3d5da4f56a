use chrono::{DateTime, Utc};
use keywheel_core::{ClientId, KeyId, TenantId};
use keywheel_schedule::Freeze;
use serde::{Deserialize, Serialize};

use crate::{
    Cause, DebtReason, Marker, RotationId, RotationSettings, Trouble, TroubleKind, instant,
};

/// What happened to a connection.
///
/// Two kinds of saves have no event. A refresh token that follows another comes with an access token, up to
/// once an hour: nobody decided anything, and what it stands for, the sign-in, has one of its own; the
/// record's [`generation`](crate::SignIn::generation) counts them. And what only moves a rotation's clock,
/// such as the time of its next attempt or the lease, changes nothing that anybody could look for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event")]
#[non_exhaustive]
pub enum EventKind {
    /// The connection was stored for the first time.
    #[serde(rename = "connection.created")]
    ConnectionCreated {
        /// The customer's tenant.
        tenant: TenantId,
        /// The application.
        client_id: ClientId,
        /// How it authenticates.
        method: String,
    },
    /// A user signed in again.
    #[serde(rename = "connection.signed-in")]
    SignedIn {
        /// Who.
        user: String,
    },
    /// The sign-in has ended: the connection gives no tokens until a user signs in again.
    #[serde(rename = "connection.needs-reauth")]
    NeedsReauth {
        /// Why, and what to do.
        reason: String,
    },
    /// The connection was given another certificate.
    #[serde(rename = "connection.certificate-replaced")]
    CertificateReplaced {
        /// Its thumbprint, as the portal shows it.
        thumbprint: String,
        /// When it ends.
        #[serde(with = "instant")]
        end: DateTime<Utc>,
    },
    /// Somebody asked for a rotation.
    #[serde(rename = "rotation.requested")]
    RotationRequested {
        /// The rotation that it will be.
        rotation: RotationId,
        /// Why.
        cause: Cause,
    },
    /// A new secret is about to be minted.
    #[serde(rename = "rotation.intent")]
    Intent {
        /// The rotation.
        rotation: RotationId,
        /// Why it runs.
        cause: Cause,
        /// The generation that the new secret will be.
        generation: u64,
        /// The display name that the new secret will carry.
        marker: Marker,
    },
    /// A new secret was minted and stored.
    #[serde(rename = "rotation.minted")]
    Minted {
        /// The rotation.
        rotation: RotationId,
        /// The generation of the new secret.
        generation: u64,
        /// The new secret.
        key_id: KeyId,
        /// When it ends.
        #[serde(default, with = "instant::optional")]
        end: Option<DateTime<Utc>>,
    },
    /// It is not known whether a secret was minted. Reading will tell.
    #[serde(rename = "rotation.unresolved")]
    Unresolved {
        /// The display name to look for.
        marker: Marker,
        /// No other secret is minted before then, unless it is found.
        #[serde(with = "instant")]
        settle_until: DateTime<Utc>,
    },
    /// A token was obtained with the new secret.
    #[serde(rename = "rotation.proved")]
    Proved {
        /// The rotation.
        rotation: RotationId,
        /// The generation of the new secret.
        generation: u64,
        /// The new secret.
        key_id: KeyId,
        /// How many in a row.
        proofs: u8,
        /// How many are wanted.
        wanted: u8,
    },
    /// The new secret is not accepted yet.
    #[serde(rename = "rotation.refused")]
    ProofRefused {
        /// The generation of the new secret.
        generation: u64,
        /// The new secret.
        key_id: KeyId,
        /// How many times in a row.
        refusals: u32,
        /// When it is tried again.
        #[serde(with = "instant")]
        retry_at: DateTime<Utc>,
    },
    /// The new secret was never accepted. It will be removed, and another one minted.
    #[serde(rename = "rotation.quarantined")]
    Quarantined {
        /// The generation that it was meant to be.
        generation: u64,
        /// The secret.
        key_id: KeyId,
    },
    /// The new secret is the current one.
    #[serde(rename = "rotation.promoted")]
    Promoted {
        /// The rotation.
        rotation: RotationId,
        /// The generation of the new secret.
        generation: u64,
        /// The new secret.
        key_id: KeyId,
        /// The one that it replaced.
        previous_key_id: Option<KeyId>,
        /// When the replaced one is to be revoked.
        #[serde(with = "instant")]
        revoke_at: DateTime<Utc>,
    },
    /// A secret is gone: the directory said so, or several reads agree.
    #[serde(rename = "secret.revoked")]
    Revoked {
        /// The secret.
        key_id: KeyId,
        /// Why it had to go.
        reason: DebtReason,
        /// Whether reads had to confirm it.
        confirmed_by_reads: bool,
    },
    /// A secret that nobody holds was found. It will be removed.
    #[serde(rename = "secret.orphan_found")]
    OrphanFound {
        /// The secret.
        key_id: KeyId,
        /// Its display name.
        marker: Marker,
    },
    /// The application has a secret with this connection's display name that the record does not know:
    /// another store rotates the same connection, or this one was restored from a backup and has forgotten
    /// it. Several reads over some time showed it, so it is no secret that is just being removed. Who uses
    /// it is not known, so it is not removed; somebody must, once nobody does. Told once for each secret.
    #[serde(rename = "secret.stray_found")]
    StrayFound {
        /// The secret.
        key_id: KeyId,
        /// Its display name.
        marker: Marker,
        /// When it ends.
        #[serde(default, with = "instant::optional")]
        end: Option<DateTime<Utc>>,
    },
    /// The replaced secret is gone, and the rotation is over.
    #[serde(rename = "rotation.confirmed")]
    Confirmed {
        /// The rotation.
        rotation: RotationId,
        /// The generation of the current secret.
        generation: u64,
        /// The current secret.
        key_id: Option<KeyId>,
        /// When the next one is due.
        #[serde(default, with = "instant::optional")]
        next: Option<DateTime<Utc>>,
    },
    /// A step failed.
    #[serde(rename = "rotation.failed")]
    Failed {
        /// Which step, what happened, what to do, and when it is tried again.
        #[serde(flatten)]
        trouble: Trouble,
    },
    /// A secret was given, to be proven and used.
    #[serde(rename = "rotation.offered")]
    Offered {
        /// The rotation that it will be.
        rotation: RotationId,
        /// Why.
        cause: Cause,
        /// The generation that it will be.
        generation: u64,
        /// The secret.
        key_id: KeyId,
    },
    /// The rotation was given up.
    #[serde(rename = "rotation.aborted")]
    Aborted {
        /// The rotation.
        rotation: RotationId,
        /// The secret that was given up, if there was one.
        key_id: Option<KeyId>,
    },
    /// Another rotation began before this one was confirmed: its secret was taken back, replaced by one
    /// that was given, or refused. The secrets that it leaves are revoked with those of the other one.
    #[serde(rename = "rotation.overtaken")]
    Overtaken {
        /// The rotation that ends here.
        rotation: RotationId,
        /// The one that goes on.
        by: RotationId,
    },
    /// A sink has the new secret.
    #[serde(rename = "sink.published")]
    Published {
        /// The sink.
        sink: String,
        /// The generation of the secret.
        generation: u64,
        /// The secret.
        key_id: Option<KeyId>,
    },
    /// The current secret ends soon, and nothing is about to replace it.
    #[serde(rename = "secret.expiring")]
    Expiring {
        /// The secret.
        key_id: Option<KeyId>,
        /// When it ends.
        #[serde(with = "instant")]
        end: DateTime<Utc>,
        /// In how many days, at most: 60, 30, 14, 7, 3 or 1.
        days: u16,
    },
    /// The connection is to be deleted, and the secrets that we minted with it.
    #[serde(rename = "connection.farewell")]
    Farewell {
        /// Whether the secrets that we minted are revoked before.
        revoke: bool,
    },
    /// The connection was deleted.
    #[serde(rename = "connection.deleted")]
    ConnectionDeleted {
        /// Secrets of ours that may live on.
        left: Vec<KeyId>,
        /// The display names of secrets of ours that there may be, and that could not be looked for.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unresolved: Vec<Marker>,
    },
    /// The connection was given another credential.
    #[serde(rename = "connection.reenrolled")]
    Reenrolled {
        /// The application that it now authenticates as.
        client_id: ClientId,
        /// Secrets of ours that may live on, on the application before.
        left: Vec<KeyId>,
        /// The display names of secrets of ours that there may be on the application before, and that
        /// were not looked for to the end.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        unresolved: Vec<Marker>,
    },
    /// The trouble that the last `rotation.failed` told of is over: its step was made, is not needed any
    /// more, or another secret took the place of the one that was refused. The health that it gave the
    /// connection, a lock-out too, ends with it. (That of a delivery ends with `sink.published`.)
    #[serde(rename = "rotation.recovered")]
    Recovered {
        /// The step that had failed.
        step: String,
        /// What would have had to be done.
        kind: TroubleKind,
        /// Since when it had failed.
        #[serde(with = "instant")]
        since: DateTime<Utc>,
        /// How many times in a row.
        attempts: u32,
    },
    /// Somebody gave a secret, or asked for the one before back. It is taken up once nothing else is under
    /// way: see `rotation.offered`.
    #[serde(rename = "secret.given")]
    SecretGiven {
        /// The rotation that it will be.
        rotation: RotationId,
        /// Why.
        cause: Cause,
        /// The generation that it will be.
        generation: u64,
        /// The secret.
        key_id: KeyId,
    },
    /// Somebody held the rotation: nothing new begins, and what was replaced is kept.
    #[serde(rename = "rotation.paused")]
    Paused {
        /// Why, in the words of who paused.
        reason: String,
    },
    /// Somebody ended a pause, or had what waits after trouble tried at once.
    #[serde(rename = "rotation.resumed")]
    Resumed {
        /// Whether it was paused.
        paused: bool,
    },
    /// Somebody added dates on which no rotation begins by itself.
    #[serde(rename = "rotation.frozen")]
    Frozen {
        /// The dates, both included.
        freeze: Freeze,
        /// When the next rotation is due now.
        #[serde(default, with = "instant::optional")]
        next: Option<DateTime<Utc>>,
    },
    /// Somebody had the plan followed again.
    #[serde(rename = "rotation.enabled")]
    Enabled {
        /// When and how it rotates.
        settings: Box<RotationSettings>,
        /// When the next rotation is due.
        #[serde(default, with = "instant::optional")]
        next: Option<DateTime<Utc>>,
    },
    /// Somebody stopped the plan. The current secret is watched to its end.
    #[serde(rename = "rotation.disabled")]
    Disabled {
        /// The current secret.
        key_id: Option<KeyId>,
        /// When it ends.
        #[serde(default, with = "instant::optional")]
        end: Option<DateTime<Utc>>,
    },
    /// Somebody changed when or how the connection rotates.
    #[serde(rename = "rotation.settings-changed")]
    SettingsChanged {
        /// When and how it rotates now.
        settings: Box<RotationSettings>,
        /// When the next rotation is due now.
        #[serde(default, with = "instant::optional")]
        next: Option<DateTime<Utc>>,
    },
    /// Somebody gave a rotation up that runs: `rotation.aborted` follows, unless its secret came into use
    /// meanwhile.
    #[serde(rename = "rotation.abort-requested")]
    AbortRequested {
        /// The rotation.
        rotation: RotationId,
    },
    /// Somebody gave a rotation up that had not begun.
    #[serde(rename = "rotation.withdrawn")]
    Withdrawn {
        /// The rotation that it would have been.
        rotation: RotationId,
        /// The secret that had been given for it.
        key_id: Option<KeyId>,
    },
    /// The secrets of the connection were sealed with another key.
    #[serde(rename = "connection.resealed")]
    Resealed {
        /// How many.
        values: u64,
    },
    /// Something else was changed. Not written any more: older versions wrote it for what now has a kind
    /// of its own, from `rotation.paused` to `connection.resealed`.
    #[serde(rename = "rotation.changed")]
    Changed {
        /// What was changed, as in `schedule`.
        what: String,
    },
}

#[cfg(test)]
mod tests {
    use keywheel_schedule::{Jitter, Plan, Schedule};
    use serde_json::{Value, json};

    use crate::{Event, RotationSettings};

    fn settings() -> RotationSettings {
        let schedule = Schedule::builder()
            .every_days(30)
            .at("02:30:00".parse().unwrap())
            .zone("Europe/Berlin")
            .anchor("2026-03-01".parse().unwrap())
            .build();
        let jitter = Jitter::new("x", std::time::Duration::from_hours(2));
        let plan = Plan::builder(schedule.unwrap()).jitter(jitter).build();
        RotationSettings::new(plan.unwrap())
    }

    fn read(kind: &Value) -> Event {
        let mut body = json!({
            "connection": "410c26fe-d3c9-4131-b5cc-5b68809e1672",
            "name": "contoso",
            "seq": 7,
            "at": "2026-03-01T12:00:00Z",
            "actor": "admin",
        });
        let fields = kind.as_object().unwrap().clone();
        body.as_object_mut().unwrap().extend(fields);
        let event: Event = serde_json::from_value(body.clone()).unwrap();
        assert_eq!(serde_json::to_value(&event).unwrap(), body, "as it was");
        event
    }

    /// As journals hold them, in databases and at receivers of webhooks: no name and no field may change.
    #[test]
    fn what_people_did_is_read_as_it_was_written() {
        let rotation = "aea7d6df-bbe6-4399-b1f9-42acb9fdf540";
        let key_id = "bd4d1b63-ceb5-4233-94ff-cf67c7d7b49e";
        let marker = format!("keywheel {rotation} g3 410c26fed3c94131b5cc5b68809e1672");
        let settings = serde_json::to_value(settings()).unwrap();
        for kind in [
            json!({"event": "rotation.paused", "reason": "an incident"}),
            json!({"event": "rotation.resumed", "paused": true}),
            json!({
                "event": "rotation.frozen",
                "freeze": {"first": "2026-12-19", "last": "2027-01-06"},
                "next": "2027-01-07T01:30:00Z",
            }),
            json!({"event": "rotation.disabled", "key_id": key_id, "end": "2026-06-06T13:00:00Z"}),
            json!({"event": "rotation.abort-requested", "rotation": rotation}),
            json!({"event": "rotation.withdrawn", "rotation": rotation, "key_id": null}),
            json!({
                "event": "rotation.recovered",
                "step": "mint",
                "kind": "permission-missing",
                "since": "2026-03-01T11:00:00Z",
                "attempts": 3,
            }),
            json!({
                "event": "secret.given",
                "rotation": rotation,
                "cause": "supplied",
                "generation": 2,
                "key_id": key_id,
            }),
            json!({"event": "connection.resealed", "values": 2}),
            json!({"event": "rotation.enabled", "settings": settings, "next": null}),
            json!({
                "event": "rotation.settings-changed",
                "settings": settings,
                "next": "2027-01-07T01:30:00Z",
            }),
            json!({
                "event": "secret.stray_found",
                "key_id": key_id,
                "marker": marker,
                "end": "2026-06-06T13:00:00Z",
            }),
        ] {
            read(&kind);
        }
    }

    /// Until kinds of their own took its place, this was all that the journal said of them.
    #[test]
    fn what_older_versions_wrote_is_read_too() {
        let event = read(&json!({"event": "rotation.changed", "what": "paused"}));
        let what = "paused".to_owned();
        assert_eq!(event.kind, super::EventKind::Changed { what });
    }
}
