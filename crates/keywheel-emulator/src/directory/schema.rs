use std::sync::LazyLock;

use serde_json::{Map, Value};

use super::Kind;

/// What a property may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// True, false or null.
    Flag,
    /// An object or null.
    Object,
    /// A list of objects.
    Objects,
    /// Set by the service alone.
    ReadOnly,
    /// A text or null.
    Text,
    /// A list of texts.
    Texts,
}

impl Shape {
    pub(crate) fn admits(self, value: &Value) -> bool {
        match self {
            Self::Flag => value.is_boolean() || value.is_null(),
            Self::Object => value.is_object() || value.is_null(),
            Self::Objects => list_of(value, Value::is_object),
            Self::ReadOnly => false,
            Self::Text => value.is_string() || value.is_null(),
            Self::Texts => list_of(value, Value::is_string),
        }
    }
}

fn list_of(value: &Value, is: fn(&Value) -> bool) -> bool {
    value.as_array().is_some_and(|list| list.iter().all(is))
}

/// Returns the shape of a property; nothing when the type has none of that name.
pub(crate) fn property(kind: Kind, name: &str) -> Option<Shape> {
    let table = match kind {
        Kind::Application => APPLICATION,
        Kind::ServicePrincipal => SERVICE_PRINCIPAL,
    };
    table
        .iter()
        .find(|(known, _)| *known == name)
        .map(|(_, shape)| *shape)
}

/// Returns the properties of a new object, all but those that the service computes.
pub(crate) fn defaults(kind: Kind) -> Map<String, Value> {
    static BOTH: LazyLock<[Map<String, Value>; 2]> = LazyLock::new(|| {
        [APPLICATION_DEFAULTS, SERVICE_PRINCIPAL_DEFAULTS]
            .map(|text| serde_json::from_str(text).expect("the template is JSON"))
    });
    BOTH[kind as usize].clone()
}

// From the CSDL of Graph v1.0, August 2026. Credentials and owners are kept apart.
const APPLICATION: &[(&str, Shape)] = &[
    ("addIns", Shape::Objects),
    ("api", Shape::Object),
    ("appId", Shape::ReadOnly),
    ("appRoles", Shape::Objects),
    ("applicationTemplateId", Shape::ReadOnly),
    ("authenticationBehaviors", Shape::Object),
    ("certification", Shape::ReadOnly),
    ("createdByAppId", Shape::ReadOnly),
    ("createdDateTime", Shape::ReadOnly),
    ("defaultRedirectUri", Shape::Text),
    ("deletedDateTime", Shape::ReadOnly),
    ("description", Shape::Text),
    ("disabledByMicrosoftStatus", Shape::ReadOnly),
    ("displayName", Shape::Text),
    ("groupMembershipClaims", Shape::Text),
    ("id", Shape::ReadOnly),
    ("identifierUris", Shape::Texts),
    ("info", Shape::Object),
    ("isDeviceOnlyAuthSupported", Shape::Flag),
    ("isDisabled", Shape::Flag),
    ("isFallbackPublicClient", Shape::Flag),
    ("managerApplications", Shape::Texts),
    ("nativeAuthenticationApisEnabled", Shape::Text),
    ("notes", Shape::Text),
    ("oauth2RequirePostResponse", Shape::Flag),
    ("optionalClaims", Shape::Object),
    ("parentalControlSettings", Shape::Object),
    ("publicClient", Shape::Object),
    ("publisherDomain", Shape::ReadOnly),
    ("requestSignatureVerification", Shape::Object),
    ("requiredResourceAccess", Shape::Objects),
    ("samlMetadataUrl", Shape::Text),
    ("serviceManagementReference", Shape::Text),
    ("servicePrincipalLockConfiguration", Shape::Object),
    ("signInAudience", Shape::Text),
    ("spa", Shape::Object),
    ("tags", Shape::Texts),
    ("tokenEncryptionKeyId", Shape::Text),
    ("uniqueName", Shape::Text),
    ("verifiedPublisher", Shape::ReadOnly),
    ("web", Shape::Object),
];

const SERVICE_PRINCIPAL: &[(&str, Shape)] = &[
    ("accountEnabled", Shape::Flag),
    ("addIns", Shape::Objects),
    ("alternativeNames", Shape::Texts),
    ("appDescription", Shape::ReadOnly),
    ("appDisplayName", Shape::ReadOnly),
    ("appId", Shape::ReadOnly),
    ("appOwnerOrganizationId", Shape::ReadOnly),
    ("appRoleAssignmentRequired", Shape::Flag),
    ("appRoles", Shape::ReadOnly),
    ("applicationTemplateId", Shape::ReadOnly),
    ("createdByAppId", Shape::ReadOnly),
    ("createdDateTime", Shape::ReadOnly),
    ("customSecurityAttributes", Shape::Object),
    ("deletedDateTime", Shape::ReadOnly),
    ("description", Shape::Text),
    ("disabledByMicrosoftStatus", Shape::ReadOnly),
    ("displayName", Shape::Text),
    ("homepage", Shape::Text),
    ("id", Shape::ReadOnly),
    ("info", Shape::ReadOnly),
    ("isDisabled", Shape::Flag),
    ("loginUrl", Shape::Text),
    ("logoutUrl", Shape::Text),
    ("notes", Shape::Text),
    ("notificationEmailAddresses", Shape::Texts),
    ("oauth2PermissionScopes", Shape::ReadOnly),
    ("preferredSingleSignOnMode", Shape::Text),
    ("preferredTokenSigningKeyThumbprint", Shape::Text),
    ("replyUrls", Shape::Texts),
    ("resourceSpecificApplicationPermissions", Shape::ReadOnly),
    ("samlSingleSignOnSettings", Shape::Object),
    ("servicePrincipalNames", Shape::ReadOnly),
    ("servicePrincipalType", Shape::ReadOnly),
    ("signInAudience", Shape::ReadOnly),
    ("tags", Shape::Texts),
    ("tokenEncryptionKeyId", Shape::Text),
    ("verifiedPublisher", Shape::ReadOnly),
];

const APPLICATION_DEFAULTS: &str = r#"{
    "addIns": [],
    "api": {"acceptMappedClaims": null, "knownClientApplications": [], "oauth2PermissionScopes": [],
            "preAuthorizedApplications": [], "requestedAccessTokenVersion": null},
    "appRoles": [], "applicationTemplateId": null, "certification": null, "createdByAppId": null,
    "defaultRedirectUri": null, "deletedDateTime": null, "description": null,
    "disabledByMicrosoftStatus": null, "displayName": null, "groupMembershipClaims": null,
    "identifierUris": [],
    "info": {"logoUrl": null, "marketingUrl": null, "privacyStatementUrl": null, "supportUrl": null,
             "termsOfServiceUrl": null},
    "isDeviceOnlyAuthSupported": null, "isDisabled": null, "isFallbackPublicClient": null,
    "managerApplications": [], "nativeAuthenticationApisEnabled": null, "notes": null,
    "oauth2RequirePostResponse": false, "optionalClaims": null,
    "parentalControlSettings": {"countriesBlockedForMinors": [], "legalAgeGroupRule": "Allow"},
    "publicClient": {"redirectUris": []}, "publisherDomain": null,
    "requestSignatureVerification": null, "requiredResourceAccess": [], "samlMetadataUrl": null,
    "serviceManagementReference": null,
    "servicePrincipalLockConfiguration": {"isEnabled": true, "allProperties": true,
        "credentialsWithUsageVerify": true, "credentialsWithUsageSign": true,
        "identifierUris": false, "tokenEncryptionKeyId": true},
    "signInAudience": "AzureADandPersonalMicrosoftAccount",
    "spa": {"redirectUris": []}, "tags": [], "tokenEncryptionKeyId": null, "uniqueName": null,
    "verifiedPublisher": {"addedDateTime": null, "displayName": null, "verifiedPublisherId": null},
    "web": {"homePageUrl": null,
            "implicitGrantSettings": {"enableAccessTokenIssuance": false, "enableIdTokenIssuance": false},
            "logoutUrl": null, "redirectUriSettings": [], "redirectUris": []}
}"#;

const SERVICE_PRINCIPAL_DEFAULTS: &str = r#"{
    "accountEnabled": true, "addIns": [], "alternativeNames": [], "appDescription": null,
    "appDisplayName": null, "appOwnerOrganizationId": null, "appRoleAssignmentRequired": false,
    "appRoles": [], "applicationTemplateId": null, "createdByAppId": null, "deletedDateTime": null,
    "description": null, "disabledByMicrosoftStatus": null, "displayName": null, "homepage": null,
    "info": {"logoUrl": null, "marketingUrl": null, "privacyStatementUrl": null, "supportUrl": null,
             "termsOfServiceUrl": null},
    "isDisabled": null, "loginUrl": null, "logoutUrl": null, "notes": null,
    "notificationEmailAddresses": [], "oauth2PermissionScopes": [],
    "preferredSingleSignOnMode": null, "preferredTokenSigningKeyThumbprint": null, "replyUrls": [],
    "resourceSpecificApplicationPermissions": [], "samlSingleSignOnSettings": null,
    "servicePrincipalNames": [], "servicePrincipalType": "Application",
    "signInAudience": "AzureADMyOrg", "tags": [], "tokenEncryptionKeyId": null,
    "verifiedPublisher": {"addedDateTime": null, "displayName": null, "verifiedPublisherId": null}
}"#;
