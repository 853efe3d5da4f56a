use std::collections::BTreeSet;

use chrono::TimeDelta;
use keywheel_core::ClientId;
use keywheel_graph::{Application, GraphErrorKind};

use super::fix::{Fixes, upload_command};
use super::permission::{
    self, ASSIGN_ROLES, DIRECTORY_WRITE, MANAGING_ROLES, OWNED_BY, READ_ALL, READ_WRITE_ALL,
    READS_ALL, WRITES_ALL,
};
use super::sight::Sight;
use super::{Finding, Need, Preflight, Purpose, Standing, reference};
use crate::TenantAccess;

/// Says of all that was seen what it means for the purposes. Pure.
pub(super) struct Judge<'a> {
    access: &'a TenantAccess,
    sight: &'a Sight,
    purposes: &'a [Purpose],
    fixes: Fixes<'a>,
    /// The permissions in the token and, for an application, those granted since it was issued.
    held: BTreeSet<&'a str>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(access: &'a TenantAccess, sight: &'a Sight, purposes: &'a [Purpose]) -> Self {
        let mut held: BTreeSet<_> = sight.claims.permissions().into_iter().collect();
        if !sight.claims.is_user() {
            let assigned = sight.assignments.iter().flatten();
            let names = assigned.filter_map(|it| permission::with_role(it.app_role_id));
            held.extend(names.map(|it| it.name));
        }
        Self {
            access,
            sight,
            purposes,
            fixes: Fixes::new(access, sight.name()),
            held,
        }
    }

    pub(super) fn findings(self) -> Preflight {
        let mut findings = vec![self.reading()];
        for purpose in self.purposes {
            let needs = self.needs(*purpose).into_iter();
            findings.extend(needs.map(|finding| finding.for_purpose(*purpose)));
        }
        if self.changes_secrets() {
            findings.extend(self.secret_limit());
            findings.push(self.policy());
        }
        findings.extend(self.end_dates());
        findings.extend(self.clock());
        findings.extend(self.too_much());
        Preflight {
            tenant: self.access.tenant.clone(),
            client: self.access.client,
            application: self.sight.name().map(ToOwned::to_owned),
            signed_in_user: self.sight.claims.is_user(),
            reference: reference::check(self.sight, self.purposes, &self.fixes),
            findings,
        }
    }

    fn reading(&self) -> Finding {
        let need = Need::ReadApplication;
        match &self.sight.application {
            Ok(application) => {
                let name = application.display_name.as_deref().unwrap_or_default();
                let (secrets, keys) = (
                    application.password_credentials.len(),
                    application.key_credentials.len(),
                );
                let detail = format!(
                    "reads its own application {name:?}, which has {secrets} secrets and {keys} certificates"
                );
                Finding::granted(need, detail)
            }
            Err(error) if error.kind() == GraphErrorKind::NotFound => Finding::new(
                need,
                Standing::Missing,
                "this tenant has no application object with this client id: a multi-tenant application is \
                 registered in its home tenant, and its secrets can be rotated only there",
            ),
            Err(error) if error.is_transient() => Finding::unknown(need, error.to_string()),
            Err(error) => Finding::new(need, Standing::Missing, error.to_string()),
        }
    }

    fn needs(&self, purpose: Purpose) -> Vec<Finding> {
        match purpose {
            Purpose::ListApplications => vec![self.listing()],
            Purpose::RollCertificates => self.rolling(),
            Purpose::RotateOthersSecrets => vec![self.writing_all()],
            Purpose::RotateOwnSecret => self.writing(self.access.client),
            Purpose::RotateSecretOf(client) => self.writing(client),
        }
    }

    fn listing(&self) -> Finding {
        let need = Need::Permission;
        if let Some(name) = self.holds(&READS_ALL) {
            return Finding::granted(need, format!("{name} lists all applications"));
        }
        let detail = if self.held.contains(OWNED_BY) {
            format!(
                "{READ_ALL}: with {OWNED_BY} alone only its own applications can be read, one by one"
            )
        } else {
            format!("{READ_ALL} lists all applications")
        };
        self.absent(READ_ALL, detail)
    }

    fn writing_all(&self) -> Finding {
        if let Some(name) = self.holds(&WRITES_ALL) {
            return Finding::granted(
                Need::Permission,
                format!("{name} writes to all applications"),
            );
        }
        if self.held.contains(OWNED_BY) {
            return Finding::granted(
                Need::Permission,
                format!(
                    "{OWNED_BY} writes to the applications that it owns; name them to have that checked"
                ),
            );
        }
        self.absent(
            self.least(),
            format!("{} lets it change secrets", self.least()),
        )
    }

    /// The permission, and by whose right: ownership for an application, the user's own standing for a user.
    fn writing(&self, target: ClientId) -> Vec<Finding> {
        let wide = self.holds(&WRITES_ALL);
        if self.sight.claims.is_user() {
            let permission = match wide {
                Some(name) => {
                    Finding::granted(Need::Permission, format!("{name} is delegated to it"))
                }
                None => self.absent(
                    READ_WRITE_ALL,
                    format!("{READ_WRITE_ALL} lets it act for the user"),
                ),
            };
            return vec![permission, self.user(target)];
        }
        let permission = match wide {
            _ if self.held.contains(OWNED_BY) => self.in_token(OWNED_BY),
            Some(name) => self.in_token(name),
            None => self.absent(
                OWNED_BY,
                format!("{OWNED_BY} lets it change secrets of applications it owns"),
            ),
        };
        vec![permission, self.ownership(target, wide)]
    }

    fn in_token(&self, name: &str) -> Finding {
        let fresh = self.sight.claims.permissions().contains(&name);
        let detail = if fresh || self.sight.claims.is_opaque() {
            format!("{name} is granted")
        } else {
            format!(
                "{name} is granted, but not in this token yet: a new one, within the hour, has it"
            )
        };
        Finding::granted(Need::Permission, detail)
    }

    fn ownership(&self, target: ClientId, wide: Option<&str>) -> Finding {
        let need = Need::Ownership;
        let whose = if target == self.access.client {
            "its own application"
        } else {
            "that application"
        };
        let fix = || self.fixes.own(target, self.sight.claims.oid, false);
        match (self.sight.owns(&target), wide) {
            (Some(true), _) => Finding::granted(need, format!("owns {whose}")),
            (Some(false), Some(name)) => Finding::granted(
                need,
                format!("does not own {whose}; not needed with {name}"),
            ),
            (None, Some(name)) => Finding::granted(need, format!("not needed with {name}")),
            (Some(false), None) => Finding::missing(
                need,
                format!("the service principal is no owner of {whose}, which {OWNED_BY} asks for"),
                fix(),
            ),
            (None, None) if self.refused(&target) => Finding::missing(
                need,
                format!("may not read {whose}: with {OWNED_BY}, that means it is no owner"),
                fix(),
            ),
            (None, None) => Finding::unknown(need, format!("the owners of {whose} can't be read"))
                .fixed_by(fix()),
        }
    }

    /// With `OwnedBy` alone, a refused read of owners says that the caller is none of them.
    fn refused(&self, target: &ClientId) -> bool {
        let read = self.sight.owners.get(target);
        let forbidden =
            |error: &keywheel_graph::GraphError| error.kind() == GraphErrorKind::Forbidden;
        self.held.contains(OWNED_BY) && read.is_some_and(|it| it.as_ref().is_err_and(forbidden))
    }

    fn user(&self, target: ClientId) -> Finding {
        let need = Need::UserStanding;
        let roles = self.sight.claims.wids.as_deref().unwrap_or_default();
        let managing = MANAGING_ROLES.iter().find(|(id, _)| roles.contains(id));
        if let Some((_, role)) = managing {
            return Finding::granted(need, format!("the signed-in user is {role}"));
        }
        match self.sight.owns(&target) {
            Some(true) => Finding::granted(need, "the signed-in user owns the application"),
            Some(false) => Finding::missing(
                need,
                "the signed-in user neither owns the application nor is an Application Administrator",
                self.fixes.own(target, self.sight.claims.oid, true),
            ),
            None => Finding::unknown(
                need,
                "whether the signed-in user owns the application can't be seen",
            ),
        }
    }

    /// A certificate that vouches, and where there is none what it takes to do without: as
    /// [`CertificateRoll`](crate::CertificateRoll) does.
    fn rolling(&self) -> Vec<Finding> {
        let need = Need::Certificate;
        let writing = || self.writing(self.access.client);
        let Ok(application) = &self.sight.application else {
            let unseen = "the certificates can't be read, and a roll sees what is registered first, so that \
                          nothing is registered twice";
            return [vec![Finding::unknown(need, unseen)], writing()].concat();
        };
        let now = self.access.now();
        let valid = application.key_credentials.iter().filter(|key| {
            let (start, end) = (key.start_date_time, key.end_date_time);
            start.is_none_or(|start| start <= now) && end.is_none_or(|end| now < end)
        });
        match valid.count() {
            0 => self.rolling_by_writing(writing()),
            valid => vec![Finding::granted(
                need,
                format!(
                    "valid certificates: {valid}; the key of one of them can vouch for the next one, which \
                     needs no permission"
                ),
            )],
        }
    }

    fn rolling_by_writing(&self, writing: Vec<Finding>) -> Vec<Finding> {
        let need = Need::Certificate;
        let missing = |it: &Finding| it.standing == Standing::Missing;
        let detail = "no registered certificate is valid, so none can vouch for a new one; without that only \
                      who may write to the application registers one";
        let finding = if writing.iter().any(missing) {
            let place = "Certificates & secrets > Certificates > Upload certificate";
            let by_hand = self
                .fixes
                .other(place, [upload_command(self.access.client)]);
            Finding::missing(need, detail, by_hand)
        } else {
            Finding::warning(need, detail)
        };
        [vec![finding], writing].concat()
    }

    fn secret_limit(&self) -> Option<Finding> {
        let application = self.sight.application.as_ref().ok()?;
        let (limit, holds) = (
            usize::from(application.secret_limit()?),
            application.password_credentials.len(),
        );
        let need = Need::SecretLimit;
        let detail = format!(
            "its audience includes personal accounts, so it may hold {limit} secrets; it holds {holds}"
        );
        Some(if holds >= limit {
            let place = "Certificates & secrets > Client secrets: delete one that nobody uses";
            Finding::new(need, Standing::Missing, detail).fixed_by(self.fixes.other(place, []))
        } else {
            Finding::granted(need, detail)
        })
    }

    fn policy(&self) -> Finding {
        let need = Need::Policy;
        let Some(policy) = &self.sight.policy else {
            return Finding::unknown(
                need,
                "the tenant's app-management policy can't be read (Policy.Read.All); when it forbids \
                 something, the rotation says so",
            );
        };
        let created = self
            .sight
            .application
            .as_ref()
            .ok()
            .and_then(|it| it.created_date_time);
        if policy.forbids_secrets(created) {
            return Finding::new(
                need,
                Standing::Missing,
                "the tenant's policy forbids new client secrets: use a certificate, or have the application \
                 exempted",
            );
        }
        match policy.longest_secret(created) {
            Some(longest) => Finding::granted(
                need,
                format!(
                    "the tenant's policy allows secrets for {} days",
                    longest.num_days()
                ),
            ),
            None => Finding::granted(need, "the tenant's policy does not limit client secrets"),
        }
    }

    fn end_dates(&self) -> Option<Finding> {
        let application = self.sight.application.as_ref().ok()?;
        let (name, end) = next_end(application)?;
        let days = (end - self.access.now()).num_days();
        let detail = format!("{name} ends first, on {}", end.format("%F"));
        Some(if end <= self.access.now() {
            Finding::warning(Need::EndDates, format!("{detail}: it has ended"))
        } else if days < 30 {
            Finding::warning(Need::EndDates, format!("{detail}, in {days} days"))
        } else {
            Finding::granted(Need::EndDates, format!("{detail}, in {days} days"))
        })
    }

    fn clock(&self) -> Option<Finding> {
        let skew = self.access.skew()?;
        let seconds = skew.num_seconds();
        let way = if seconds < 0 { "behind" } else { "ahead of" };
        Some(if skew.abs() <= TimeDelta::seconds(30) {
            Finding::granted(Need::ClockSkew, "our clock agrees with Microsoft's")
        } else {
            Finding::warning(
                Need::ClockSkew,
                format!(
                    "our clock is {} seconds {way} Microsoft's: set it (NTP); from five minutes on, \
                     assertions are refused",
                    seconds.abs()
                ),
            )
        })
    }

    fn too_much(&self) -> Vec<Finding> {
        let user = self.sight.claims.is_user();
        let wide = |it: &Purpose| matches!(it, Purpose::RotateOthersSecrets);
        let mut findings = Vec::new();
        let mut warn = |name: &str, why: String| {
            if self.held.contains(name)
                && let Some(permission) = permission::named(name)
            {
                let fix = self
                    .fixes
                    .take_away(permission, user, self.sight.assignment(name));
                findings.push(Finding::warning(Need::LeastPrivilege, why).fixed_by(fix));
            }
        };
        warn(
            DIRECTORY_WRITE,
            format!("{DIRECTORY_WRITE} is never needed: it writes to the whole directory"),
        );
        warn(
            ASSIGN_ROLES,
            format!("{ASSIGN_ROLES} lets it grant itself everything, and is not needed"),
        );
        if !user && !self.purposes.iter().any(wide) {
            warn(
                READ_WRITE_ALL,
                format!(
                    "{READ_WRITE_ALL} lets it take over every application of the tenant; {OWNED_BY} and \
                     ownership{} are enough",
                    if self.purposes.contains(&Purpose::ListApplications) {
                        format!(", and {READ_ALL} to list them,")
                    } else {
                        String::new()
                    }
                ),
            );
        }
        findings
    }

    /// What is missing, or unknown when neither token nor assignments can be read.
    fn absent(&self, name: &'static str, detail: String) -> Finding {
        let fix =
            permission::named(name).map(|it| self.fixes.grant(it, self.sight.claims.is_user()));
        let blind = self.sight.claims.is_opaque() && self.sight.assignments.is_none();
        let standing = if blind {
            Standing::Unknown
        } else {
            Standing::Missing
        };
        let mut finding = Finding::new(Need::Permission, standing, detail);
        finding.fix = fix;
        finding
    }

    fn holds(&self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().copied().find(|name| self.held.contains(name))
    }

    fn least(&self) -> &'static str {
        if self.sight.claims.is_user() {
            READ_WRITE_ALL
        } else {
            OWNED_BY
        }
    }

    fn changes_secrets(&self) -> bool {
        let own = |it: &Purpose| matches!(it, Purpose::RotateOwnSecret);
        self.purposes.iter().any(own)
    }
}

/// The credential of the application that ends first.
fn next_end(application: &Application) -> Option<(String, chrono::DateTime<chrono::Utc>)> {
    let named = |kind: &str, name: &Option<String>| {
        let name = name.as_deref().unwrap_or("without name");
        format!("the {kind} {name:?}")
    };
    let secrets = application.password_credentials.iter();
    let secrets = secrets.map(|it| (named("secret", &it.display_name), it.end_date_time));
    let keys = application.key_credentials.iter();
    let keys = keys.map(|it| (named("certificate", &it.display_name), it.end_date_time));
    secrets
        .chain(keys)
        .filter_map(|(name, end)| Some((name, end?)))
        .min_by_key(|(_, end)| *end)
}
