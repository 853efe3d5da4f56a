use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

macro_rules! routes {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// An operation that the emulator serves: what faults aim at and what the log names.
        ///
        /// The operations on service principals have the name of their twin on applications.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[non_exhaustive]
        pub enum Route {
            $($(#[$doc])* #[serde(rename = $text)] $name,)*
        }

        impl Route {
            /// Every route.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Returns the route's name, as the log, seeds and the admin endpoint write it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)*
                }
            }
        }
    };
}

routes! {
    /// `POST …/addKey`.
    AddKey = "addKey",
    /// `POST …/owners/$ref`.
    AddOwner = "addOwner",
    /// `POST …/addPassword`.
    AddPassword = "addPassword",
    /// `/_emulator/…`, the emulator's own endpoint. Faults never hit it.
    Admin = "admin",
    /// `/{tenant}/adminconsent` and `/{tenant}/v2.0/adminconsent`.
    AdminConsent = "adminConsent",
    /// `POST …/appRoleAssignments`, `…/appRoleAssignedTo`.
    AssignRole = "assignRole",
    /// `/{tenant}/oauth2/v2.0/authorize`.
    Authorize = "authorize",
    /// `POST /v1.0/$batch`.
    Batch = "batch",
    /// `/{tenant}/consent`, the consent page's form.
    Consent = "consent",
    /// `GET …/$count`.
    Count = "count",
    /// `POST /v1.0/applications`, `/servicePrincipals`.
    Create = "create",
    /// `POST …/federatedIdentityCredentials`.
    CreateFederated = "createFederated",
    /// `DELETE` of an application or service principal.
    Delete = "delete",
    /// `DELETE …/federatedIdentityCredentials/{id}`.
    DeleteFederated = "deleteFederated",
    /// `/{tenant}/v2.0/.well-known/openid-configuration`.
    Discovery = "discovery",
    /// `/error?code=…`, the error look-up page.
    ErrorPage = "errorPage",
    /// `GET` of one application or service principal.
    Get = "get",
    /// `GET …/federatedIdentityCredentials/{id}`.
    GetFederated = "getFederated",
    /// `/common/discovery/instance`.
    InstanceDiscovery = "instanceDiscovery",
    /// `/{tenant}/discovery/v2.0/keys`.
    Keys = "keys",
    /// `GET /v1.0/applications`, `/servicePrincipals`.
    List = "list",
    /// `GET …/federatedIdentityCredentials`.
    ListFederated = "listFederated",
    /// `GET /servicePrincipals/{id}/ownedObjects`.
    ListOwned = "listOwned",
    /// `GET …/owners`.
    ListOwners = "listOwners",
    /// `GET …/appRoleAssignments`, `…/appRoleAssignedTo`.
    ListRoles = "listRoles",
    /// `/{tenant}/oauth2/v2.0/logout`.
    Logout = "logout",
    /// `GET /v1.0/me`.
    Me = "me",
    /// `GET /v1.0/organization`.
    Organization = "organization",
    /// `/v1.0/policies/…` and an application's `appManagementPolicies`.
    Policy = "policy",
    /// `POST …/removeKey`.
    RemoveKey = "removeKey",
    /// `DELETE …/owners/{id}/$ref`.
    RemoveOwner = "removeOwner",
    /// `POST …/removePassword`.
    RemovePassword = "removePassword",
    /// `/{tenant}/login`, the sign-in page's form.
    SignIn = "signIn",
    /// `/{tenant}/oauth2/v2.0/token`.
    Token = "token",
    /// `DELETE …/appRoleAssignments/{id}`.
    UnassignRole = "unassignRole",
    /// Anything that the emulator does not serve.
    Unserved = "unserved",
    /// `PATCH` of an application or service principal.
    Update = "update",
    /// `PATCH …/federatedIdentityCredentials/{id}`.
    UpdateFederated = "updateFederated",
    /// `GET /oidc/userinfo`.
    UserInfo = "userInfo",
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Route {
    type Err = UnknownRoute;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .iter()
            .find(|route| route.as_str() == text)
            .copied()
            .ok_or_else(|| UnknownRoute(text.to_owned()))
    }
}

/// A route name that no route has.
#[derive(Clone, Debug, thiserror::Error)]
#[error("route {0:?} does not exist: take a name that the request log shows")]
pub struct UnknownRoute(String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for route in Route::ALL {
            assert_eq!(route.to_string().parse::<Route>().unwrap(), *route);
            let json = serde_json::to_string(route).unwrap();
            assert_eq!(json, format!("\"{route}\""));
        }
        assert!("nope".parse::<Route>().is_err());
    }
}
