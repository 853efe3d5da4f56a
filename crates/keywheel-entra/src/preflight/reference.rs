use std::collections::BTreeSet;

use serde::Serialize;

use super::fix::Fixes;
use super::permission::{self, DIRECTORY_WRITE, OWNED_BY, READ_WRITE_ALL, USER_READ};
use super::sight::Sight;
use super::{Fix, Purpose};

/// What can be taken away when all was granted that a well-known product's page asks for, whatever the
/// method: `Application.ReadWrite.All` and `Application.ReadWrite.OwnedBy` for the application, and
/// `Application.ReadWrite.All`, `Directory.ReadWrite.All` and `User.Read` for signed-in users.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ReferenceCheck {
    /// What the purposes need, ownership of the own application included.
    pub keep: Vec<String>,
    /// What they do not need.
    pub remove: Vec<Removable>,
}

/// A permission that can be taken away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Removable {
    /// The permission.
    pub permission: &'static str,
    /// `application` or `delegated`.
    pub kind: &'static str,
    /// Why it is not needed.
    pub reason: &'static str,
    /// How it is taken away.
    pub fix: Fix,
}

/// A permission, and whether it is a delegated one.
type Asked = (&'static str, bool);

const LIST: [Asked; 5] = [
    (READ_WRITE_ALL, false),
    (OWNED_BY, false),
    (READ_WRITE_ALL, true),
    (DIRECTORY_WRITE, true),
    (USER_READ, true),
];

/// Holds what is registered and granted against the list. `None` when not all of it is there.
pub(super) fn check(
    sight: &Sight,
    purposes: &[Purpose],
    fixes: &Fixes<'_>,
) -> Option<ReferenceCheck> {
    let there = registered(sight);
    if !LIST.iter().all(|asked| there.contains(asked)) {
        return None;
    }
    let user = sight.claims.is_user();
    let keep = needed(purposes, user);
    let remove = LIST.into_iter().filter(|asked| !keep.contains(asked));
    let mut words: Vec<String> = keep
        .iter()
        .map(|(name, delegated)| format!("{name} ({})", kind(*delegated)))
        .collect();
    if keep.contains(&(OWNED_BY, false)) {
        words.push("ownership of the applications to be rotated".to_owned());
    }
    Some(ReferenceCheck {
        keep: words,
        remove: remove
            .filter_map(|(name, delegated)| {
                let permission = permission::named(name)?;
                let assignment = sight.assignment(name).filter(|_| !delegated);
                Some(Removable {
                    permission: name,
                    kind: kind(delegated),
                    reason: reason(name, delegated, user),
                    fix: fixes.take_away(permission, delegated, assignment),
                })
            })
            .collect(),
    })
}

/// What the registration asks for, and what the token or the assignments show.
fn registered(sight: &Sight) -> BTreeSet<Asked> {
    let mut all = BTreeSet::new();
    let application = sight.application.as_ref().ok();
    let resources = application.map(|it| it.required_resource_access.as_slice());
    let graph = resources
        .unwrap_or_default()
        .iter()
        .filter(|resource| resource.resource_app_id == permission::GRAPH);
    for access in graph.flat_map(|resource| &resource.resource_access) {
        let role = permission::with_role(access.id).map(|it| (it.name, false));
        let scope = permission::with_scope(access.id).map(|it| (it.name, true));
        all.extend(role.or(scope));
    }
    let delegated = sight.claims.is_user();
    let held = sight.claims.permissions().into_iter();
    all.extend(held.filter_map(|name| Some((permission::named(name)?.name, delegated))));
    let assigned = sight.assignments.iter().flatten();
    let assigned = assigned.filter_map(|it| permission::with_role(it.app_role_id));
    all.extend(assigned.map(|it| (it.name, false)));
    all
}

fn needed(purposes: &[Purpose], user: bool) -> BTreeSet<Asked> {
    let writes = purposes
        .iter()
        .any(|it| !matches!(it, Purpose::ListApplications));
    let wide =
        |it: &Purpose| matches!(it, Purpose::ListApplications | Purpose::RotateOthersSecrets);
    match (user, purposes.iter().any(wide)) {
        (true, _) => BTreeSet::from([(READ_WRITE_ALL, true), (USER_READ, true)]),
        // Of the list, only this one lists all applications and writes to all of them.
        (false, true) => BTreeSet::from([(READ_WRITE_ALL, false)]),
        (false, false) if writes => BTreeSet::from([(OWNED_BY, false)]),
        (false, false) => BTreeSet::new(),
    }
}

fn reason(name: &str, delegated: bool, user: bool) -> &'static str {
    match (name, delegated) {
        (DIRECTORY_WRITE, _) => "never needed: it writes to the whole directory",
        (_, true) if !user => "for signed-in users only; this connection signs in as itself",
        (OWNED_BY, _) if user => "for the application itself only; this connection acts for a user",
        (READ_WRITE_ALL, false) if !user => {
            "lets it take over every application of the tenant; ownership of those it rotates is enough"
        }
        (OWNED_BY, _) => "adds nothing to Application.ReadWrite.All",
        _ => "not needed for these purposes",
    }
}

fn kind(delegated: bool) -> &'static str {
    if delegated {
        "delegated"
    } else {
        "application"
    }
}
