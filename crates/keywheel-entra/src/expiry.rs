use std::collections::HashSet;
use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use futures_util::future;
use futures_util::stream::{self, Stream, StreamExt, TryStreamExt};
use keywheel_connection::Marker;
use keywheel_core::{ApplicationObjectId, ClientId, KeyId};
use keywheel_graph::{
    Application, ApplicationKey, DirectoryObject, GraphClient, GraphError, GraphErrorKind,
    ListOptions, Page, Pages,
};
use serde::Serialize;

use crate::TenantAccess;

/// What of expiring credentials is wanted.
#[derive(Clone, Debug)]
pub struct ExpiryWatch {
    within: Option<TimeDelta>,
    owners: bool,
    held: HashSet<KeyId>,
    page_size: u16,
}

/// One credential of one application, and when it ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Expiry {
    /// The application's client id.
    pub client: ClientId,
    /// The application's object id.
    pub application: ApplicationObjectId,
    /// The application's display name.
    pub application_name: Option<String>,
    /// What ends.
    pub kind: CredentialKind,
    /// Its key id.
    pub key_id: Option<KeyId>,
    /// Its display name.
    pub name: Option<String>,
    /// When it ends; very old ones may not say so.
    pub ends: Option<DateTime<Utc>>,
    /// How many whole days are left; negative once it has ended.
    pub days_left: Option<i64>,
    /// The most urgent threshold that it has passed, in days: one of [`THRESHOLDS`], or 0 once it has ended.
    pub threshold: Option<u16>,
    /// Who holds it.
    pub holder: Holder,
    /// The owners of the application, where they were asked for and could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owners: Option<Vec<String>>,
}

/// What kind of credential ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum CredentialKind {
    /// A certificate.
    Certificate,
    /// A client secret.
    ClientSecret,
}

/// Who holds a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Holder {
    /// Somebody else.
    Foreign,
    /// We: it carries a rotation's marker, or its key id is among those given.
    Ours,
}

/// A threshold that a credential has passed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ExpiryEvent {
    /// The threshold: 60, 30, 14, 7, 3, 1 days, or 0 for one that has ended.
    pub threshold: u16,
    /// When it was passed.
    pub at: DateTime<Utc>,
    /// The credential.
    pub expiry: Expiry,
}

/// How many days before the end people want to hear of it.
pub const THRESHOLDS: [u16; 6] = [60, 30, 14, 7, 3, 1];

impl Default for ExpiryWatch {
    fn default() -> Self {
        Self {
            within: None,
            owners: false,
            held: HashSet::new(),
            page_size: 999,
        }
    }
}

impl ExpiryWatch {
    /// Wants every credential.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Wants only those that end within this time from now, or have ended. Those that say no end are left
    /// out.
    #[must_use]
    pub fn within(mut self, time: TimeDelta) -> Self {
        self.within = Some(time);
        self
    }

    /// Wants the owners of the applications, at one request for every twenty applications.
    #[must_use]
    pub fn with_owners(mut self) -> Self {
        self.owners = true;
        self
    }

    /// Takes the credentials with these key ids for ours, beside those that carry a rotation's marker.
    #[must_use]
    pub fn held(mut self, key_ids: impl IntoIterator<Item = KeyId>) -> Self {
        self.held.extend(key_ids);
        self
    }

    /// Sets how many applications are read at once: 1 to 999. Default: 999.
    #[must_use]
    pub fn page_size(mut self, size: u16) -> Self {
        self.page_size = size;
        self
    }

    /// Returns the credentials of an application that are wanted.
    pub(crate) fn of(&self, application: Application, now: DateTime<Utc>) -> Vec<Expiry> {
        let Application {
            id,
            app_id,
            display_name,
            password_credentials,
            key_credentials,
            ..
        } = application;
        let secrets = password_credentials.into_iter();
        let secrets = secrets.map(|it| {
            (
                CredentialKind::ClientSecret,
                it.key_id,
                it.display_name,
                it.end_date_time,
            )
        });
        let keys = key_credentials.into_iter();
        let keys = keys.map(|it| {
            (
                CredentialKind::Certificate,
                it.key_id,
                it.display_name,
                it.end_date_time,
            )
        });
        let all = secrets
            .chain(keys)
            .map(|(kind, key_id, name, ends)| Expiry {
                client: app_id,
                application: id,
                application_name: display_name.clone(),
                kind,
                key_id,
                holder: self.holder(key_id, name.as_deref()),
                name,
                ends,
                days_left: ends.map(|end| days_left(end, now)),
                threshold: ends.and_then(|end| passed(end, now)),
                owners: None,
            });
        all.filter(|expiry| self.wants(expiry, now)).collect()
    }

    fn wants(&self, expiry: &Expiry, now: DateTime<Utc>) -> bool {
        self.within
            .is_none_or(|within| expiry.ends.is_some_and(|end| end <= now + within))
    }

    fn holder(&self, key_id: Option<KeyId>, name: Option<&str>) -> Holder {
        let marked = name.is_some_and(|name| name.parse::<Marker>().is_ok());
        if marked || key_id.is_some_and(|id| self.held.contains(&id)) {
            Holder::Ours
        } else {
            Holder::Foreign
        }
    }
}

impl Expiry {
    /// Returns the most urgent threshold that was passed after `since` and not after `now`.
    ///
    /// It needs no memory but when the last look was: a watch that looks each day, and one that was down
    /// for a week, tell of each threshold once.
    #[must_use]
    pub fn event(&self, since: DateTime<Utc>, now: DateTime<Utc>) -> Option<ExpiryEvent> {
        let threshold = passed(self.ends?, now)?;
        let at = self.ends? - TimeDelta::days(i64::from(threshold));
        (at > since).then(|| ExpiryEvent {
            threshold,
            at,
            expiry: self.clone(),
        })
    }
}

/// Whole days, rounded down: a credential that ends in an hour has none left.
fn days_left(end: DateTime<Utc>, now: DateTime<Utc>) -> i64 {
    (end - now).num_seconds().div_euclid(86_400)
}

fn passed(end: DateTime<Utc>, now: DateTime<Utc>) -> Option<u16> {
    let most_urgent_first = std::iter::once(0).chain(THRESHOLDS.into_iter().rev());
    most_urgent_first
        .into_iter()
        .find(|days| now >= end - TimeDelta::days(i64::from(*days)))
}

impl TenantAccess {
    /// Returns the credentials of all applications that may be read, page by page: no more than one page is
    /// held, however many there are.
    ///
    /// With `Application.ReadWrite.OwnedBy` alone these are the applications that the service principal
    /// owns. It ends after the first error.
    pub fn expiries(
        &self,
        watch: &ExpiryWatch,
    ) -> impl Stream<Item = Result<Expiry, GraphError>> + Send + use<> {
        self.expiry_pages(watch)
            .map_ok(|page| stream::iter(page.expiries).map(Ok))
            .try_flatten()
    }

    /// Returns the thresholds that were passed after `since` and not after now, each once.
    pub fn expiry_events(
        &self,
        watch: &ExpiryWatch,
        since: DateTime<Utc>,
    ) -> impl Stream<Item = Result<ExpiryEvent, GraphError>> + Send + use<> {
        let now = self.now();
        let furthest = TimeDelta::days(i64::from(THRESHOLDS[0]));
        let near = watch
            .clone()
            .within(watch.within.map_or(furthest, |it| it.min(furthest)));
        let expiries = self.expiries(&near);
        expiries.try_filter_map(move |expiry| future::ok(expiry.event(since, now)))
    }

    /// Returns the credentials of one application.
    ///
    /// # Errors
    ///
    /// Returns an error when it could not be read.
    pub async fn expiries_of(
        &self,
        client: ClientId,
        watch: &ExpiryWatch,
    ) -> Result<Vec<Expiry>, GraphError> {
        let graph = self.graph();
        let application = graph.application(client).get_with(&PROPERTIES).await?;
        let mut expiries = watch.of(application, self.now());
        if watch.owners {
            add_owners(&graph, &mut expiries).await;
        }
        Ok(expiries)
    }

    /// Returns pages of applications as they were read, for who wants to show how far it is.
    pub fn expiry_pages(
        &self,
        watch: &ExpiryWatch,
    ) -> impl Stream<Item = Result<ExpiryPage, GraphError>> + Send + use<> {
        let options = ListOptions::new()
            .select(PROPERTIES)
            .page_size(watch.page_size)
            .count();
        let source = Source::All(self.graph().applications(&options));
        let state = (self.clone(), watch.clone(), source);
        stream::try_unfold(state, async |(access, watch, mut source)| {
            let Some(page) = source.next(&access).await? else {
                return Ok(None);
            };
            let graph = access.graph();
            let (applications, now) = (page.value.len(), access.now());
            let found = page.value.into_iter();
            let mut expiries: Vec<_> = found.flat_map(|it| watch.of(it, now)).collect();
            if watch.owners {
                add_owners(&graph, &mut expiries).await;
            }
            let page = ExpiryPage {
                applications,
                total: page.count,
                expiries,
            };
            Ok(Some((page, (access, watch, source))))
        })
    }
}

/// The credentials of one page of applications.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ExpiryPage {
    /// How many applications were on it.
    pub applications: usize,
    /// How many there are in all, if Graph told.
    pub total: Option<u64>,
    /// Those of their credentials that are wanted.
    pub expiries: Vec<Expiry>,
}

const PROPERTIES: [&str; 5] = [
    "id",
    "appId",
    "displayName",
    "passwordCredentials",
    "keyCredentials",
];

/// Where applications are read from.
enum Source {
    /// The list of all.
    All(Pages<Application>),
    /// What the own service principal owns, when the list is refused.
    Owned(Pages<DirectoryObject>),
}

impl Source {
    async fn next(
        &mut self,
        access: &TenantAccess,
    ) -> Result<Option<Page<Application>>, GraphError> {
        if let Self::All(pages) = self {
            match pages.next().await {
                Err(error) if error.kind() == GraphErrorKind::Forbidden => {
                    let graph = access.graph();
                    let owned = graph.service_principal(access.client).owned_objects();
                    *self = Self::Owned(owned);
                }
                other => return other,
            }
        }
        let Self::Owned(pages) = self else {
            return Ok(None);
        };
        let Some(page) = pages.next().await? else {
            return Ok(None);
        };
        let ids: Vec<_> = page
            .value
            .iter()
            .filter(|object| object.is_application())
            .map(|object| ApplicationObjectId::from(object.id))
            .collect();
        let value = read_each(&access.graph(), &ids).await?;
        Ok(Some(Page::of(value)))
    }
}

/// Reads applications in batches. One that was deleted in between is left out.
async fn read_each(
    graph: &GraphClient,
    ids: &[ApplicationObjectId],
) -> Result<Vec<Application>, GraphError> {
    let mut batch = graph.batch();
    let handles: Vec<_> = ids
        .iter()
        .map(|id| batch.get_application_with(*id, &PROPERTIES))
        .collect();
    let mut answers = batch.send().await;
    let mut applications = Vec::with_capacity(ids.len());
    for handle in handles {
        match answers.take(handle) {
            Ok(application) => applications.push(application),
            Err(error) if error.kind() == GraphErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(applications)
}

/// Adds the owners where they can be read.
async fn add_owners(graph: &GraphClient, expiries: &mut [Expiry]) {
    let mut batch = graph.batch();
    let mut handles = Vec::new();
    for expiry in expiries.iter() {
        let known = handles
            .last()
            .is_some_and(|(client, _)| *client == expiry.client);
        if !known {
            let key = ApplicationKey::from(expiry.application);
            handles.push((expiry.client, batch.owners(key)));
        }
    }
    let mut answers = batch.send().await;
    let mut owners = handles.into_iter().map(|(client, handle)| {
        let owners = answers.page::<DirectoryObject>(handle).ok();
        let labels = owners.map(|all| all.iter().map(DirectoryObject::label).collect::<Vec<_>>());
        (client, labels)
    });
    let mut current: Option<(ClientId, Option<Vec<String>>)> = None;
    for expiry in expiries {
        if current
            .as_ref()
            .is_none_or(|(client, _)| *client != expiry.client)
        {
            current = owners.next();
        }
        expiry.owners = current.as_ref().and_then(|(_, owners)| owners.clone());
    }
}

impl fmt::Display for CredentialKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Certificate => "certificate",
            Self::ClientSecret => "client secret",
        })
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Foreign => "foreign",
            Self::Ours => "ours",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    fn expiry(end: &str) -> Expiry {
        let json = serde_json::json!({
            "id": "11111111-2222-4333-8444-555555555555", "appId": "11111111-2222-4333-8444-555555555555",
            "passwordCredentials": [{ "endDateTime": end }],
        });
        let application = serde_json::from_value(json).unwrap();
        let mut all = ExpiryWatch::new().of(application, at("2026-03-01T00:00:00Z"));
        all.remove(0)
    }

    #[test]
    fn days_are_whole_and_thresholds_the_most_urgent_passed() {
        for (end, days, threshold) in [
            ("2026-06-01T00:00:00Z", 92, None),
            ("2026-04-30T00:00:00Z", 60, Some(60)),
            ("2026-04-30T00:00:01Z", 60, None),
            ("2026-03-31T00:00:00Z", 30, Some(30)),
            ("2026-03-14T23:59:59Z", 13, Some(14)),
            ("2026-03-02T00:00:00Z", 1, Some(1)),
            ("2026-03-01T00:00:01Z", 0, Some(1)),
            ("2026-03-01T00:00:00Z", 0, Some(0)),
            ("2026-02-28T23:00:00Z", -1, Some(0)),
        ] {
            let expiry = expiry(end);
            assert_eq!(
                (expiry.days_left, expiry.threshold),
                (Some(days), threshold),
                "{end}"
            );
        }
    }

    #[test]
    fn each_threshold_is_told_once_however_often_or_seldom_one_looks() {
        let expiry = expiry("2026-06-01T12:00:00Z");
        let told = |step: TimeDelta| {
            let (mut last, mut told) = (at("2026-03-01T00:00:00Z"), Vec::new());
            while last < at("2026-07-01T00:00:00Z") {
                let now = last + step;
                told.extend(expiry.event(last, now).map(|event| event.threshold));
                last = now;
            }
            told
        };

        assert_eq!(told(TimeDelta::hours(1)), [60, 30, 14, 7, 3, 1, 0]);
        assert_eq!(told(TimeDelta::hours(7)), [60, 30, 14, 7, 3, 1, 0]);
        assert_eq!(told(TimeDelta::days(40)), [60, 14, 0]);
    }

    #[test]
    fn what_says_no_end_is_shown_unless_a_time_is_asked_for() {
        let json = serde_json::json!({
            "id": "11111111-2222-4333-8444-555555555555", "appId": "11111111-2222-4333-8444-555555555555",
            "passwordCredentials": [{ "endDateTime": null }], "keyCredentials": null,
        });
        let application: Application = serde_json::from_value(json).unwrap();
        let now = at("2026-03-01T00:00:00Z");

        let all = ExpiryWatch::new().of(application.clone(), now);
        assert_eq!((all.len(), all[0].days_left), (1, None));
        let near = ExpiryWatch::new()
            .within(TimeDelta::days(90))
            .of(application, now);
        assert!(near.is_empty(), "{near:?}");
    }
}
