use super::{GraphError, Request};
use crate::Route;
use crate::behaviour::OwnedByReads;
use crate::directory::{Kind, Object, Tenant};
use crate::world::World;

/// The permissions of which a caller needs one.
#[derive(Clone, Copy, Debug)]
struct Need {
    application: &'static [&'static str],
    delegated: &'static [&'static str],
    /// Whether the operation changes something: a user then needs a directory role or must be an owner.
    write: bool,
}

/// Checks that the caller has any permission that can suffice for the operation.
pub(crate) fn check(request: &Request<'_>, world: &World) -> Result<(), GraphError> {
    let route = request.operation.route;
    let need = need(route, request.operation.kind);
    let caller = request.caller;
    let (has, listed) = if caller.is_user {
        (&caller.scopes, need.delegated)
    } else {
        (&caller.roles, need.application)
    };
    let fits = has.iter().any(|it| listed.contains(&it.as_str()));
    let also = matches!(route, Route::AddOwner | Route::RemoveOwner)
        && !has.iter().any(|it| DIRECTORY.contains(&it.as_str()));
    let list_refused = matches!(route, Route::List | Route::Count)
        && only_owned(request, &need)
        && world.behaviours.owned_by_reads == OwnedByReads::Owned;
    if fits && !also && !list_refused {
        Ok(())
    } else {
        Err(GraphError::forbidden())
    }
}

/// Checks that the caller may do it with this very object.
pub(crate) fn check_object(
    request: &Request<'_>,
    world: &World,
    tenant: &Tenant,
    object: &Object,
) -> Result<(), GraphError> {
    let need = need(request.operation.route, request.operation.kind);
    let caller = request.caller;
    let allowed = match caller.user() {
        Some(id) => {
            let user = tenant.users.get(&id).ok_or_else(GraphError::forbidden)?;
            !need.write || user.manages_applications() || object.is_owned_by(id)
        }
        None => {
            let any = !need.write && world.behaviours.owned_by_reads == OwnedByReads::Any;
            !only_owned(request, &need) || any || owns(caller.object_id, tenant, object)
        }
    };
    if allowed {
        Ok(())
    } else {
        Err(GraphError::forbidden())
    }
}

/// Tells whether a service principal owns an object, or the application that the object stands for.
fn owns(principal: uuid::Uuid, tenant: &Tenant, object: &Object) -> bool {
    let application = || tenant.by_app_id(Kind::Application, object.app_id);
    object.is_owned_by(principal)
        || (object.kind == Kind::ServicePrincipal
            && application().is_some_and(|it| it.is_owned_by(principal)))
}

/// Tells whether `Application.ReadWrite.OwnedBy` is all that lets an application do this.
fn only_owned(request: &Request<'_>, need: &Need) -> bool {
    let caller = request.caller;
    !caller.is_user
        && !caller
            .roles
            .iter()
            .any(|role| role != OWNED_BY && need.application.contains(&role.as_str()))
}

const OWNED_BY: &str = "Application.ReadWrite.OwnedBy";
const DIRECTORY: [&str; 2] = ["Directory.Read.All", "Directory.ReadWrite.All"];

// From the permissions reference, August 2026. An application that rolls its own key by proof needs none.
fn need(route: Route, kind: Option<Kind>) -> Need {
    match route {
        Route::Get | Route::List | Route::Count | Route::ListOwners | Route::ListOwned => READ,
        Route::ListRoles => READ,
        Route::ListFederated | Route::GetFederated => READ_FEDERATED,
        Route::AddKey | Route::AddPassword | Route::RemoveKey | Route::RemovePassword => {
            CREDENTIALS
        }
        Route::Create if kind == Some(Kind::Application) => CREATE,
        Route::AddOwner | Route::RemoveOwner => CREDENTIALS,
        Route::Update | Route::Delete | Route::Create => CHANGE,
        Route::CreateFederated | Route::UpdateFederated | Route::DeleteFederated => CHANGE,
        Route::AssignRole | Route::UnassignRole => ASSIGN,
        Route::Organization => ORGANIZATION,
        Route::Me => ME,
        Route::Policy => POLICY,
        _ => NOTHING,
    }
}

const READ: Need = Need {
    application: &[
        "Application.Read.All",
        "Application.ReadWrite.All",
        OWNED_BY,
        "Directory.Read.All",
        "Directory.ReadWrite.All",
    ],
    delegated: &[
        "Application.Read.All",
        "Application.ReadWrite.All",
        "Directory.Read.All",
        "Directory.ReadWrite.All",
    ],
    write: false,
};
const READ_FEDERATED: Need = Need {
    application: &[
        "Application.Read.All",
        "Application.ReadWrite.All",
        OWNED_BY,
    ],
    delegated: &["Application.Read.All", "Application.ReadWrite.All"],
    write: false,
};
const CREDENTIALS: Need = Need {
    application: &[
        "Application.ReadWrite.All",
        OWNED_BY,
        "Directory.ReadWrite.All",
    ],
    delegated: &["Application.ReadWrite.All", "Directory.ReadWrite.All"],
    write: true,
};
const CREATE: Need = Need {
    application: &[
        "AppRegistration.Create",
        "Application.ReadWrite.All",
        OWNED_BY,
    ],
    delegated: &["AppRegistration.Create", "Application.ReadWrite.All"],
    write: true,
};
const CHANGE: Need = Need {
    application: &["Application.ReadWrite.All", OWNED_BY],
    delegated: &["Application.ReadWrite.All"],
    write: true,
};
const ASSIGN: Need = Need {
    application: &["AppRoleAssignment.ReadWrite.All"],
    delegated: &["AppRoleAssignment.ReadWrite.All"],
    write: true,
};
const ORGANIZATION: Need = Need {
    application: &[
        "Directory.Read.All",
        "Directory.ReadWrite.All",
        "Organization.Read.All",
        "Organization.ReadWrite.All",
        "User.Read.All",
    ],
    delegated: &[
        "Directory.Read.All",
        "Directory.ReadWrite.All",
        "Organization.Read.All",
        "Organization.ReadWrite.All",
        "User.Read",
        "User.Read.All",
    ],
    write: false,
};
const ME: Need = Need {
    application: &[],
    delegated: &[
        "User.Read",
        "User.Read.All",
        "User.ReadBasic.All",
        "Directory.Read.All",
        "Directory.ReadWrite.All",
    ],
    write: false,
};
const POLICY: Need = Need {
    application: &[
        "Policy.Read.All",
        "Policy.ReadWrite.ApplicationConfiguration",
    ],
    delegated: &[
        "Policy.Read.All",
        "Policy.ReadWrite.ApplicationConfiguration",
    ],
    write: false,
};
const NOTHING: Need = Need {
    application: &[],
    delegated: &[],
    write: true,
};
