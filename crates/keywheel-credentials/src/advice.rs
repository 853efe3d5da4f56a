//! What the AADSTS codes mean and what to do about them.
//!
//! Sources: <https://learn.microsoft.com/entra/identity-platform/reference-error-codes> and
//! <https://learn.microsoft.com/entra/workload-id/troubleshoot-revoked-credentials>. Microsoft says that
//! codes may change, so a code that is not listed falls back on the OAuth error, which is the contract.

use keywheel_core::CredentialErrorKind::{
    self, Denied, InteractionRequired, InvalidClient, Protocol, Throttled, Unavailable,
};

/// What is known of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Advice {
    pub(crate) kind: CredentialErrorKind,
    /// What happened.
    pub(crate) what: &'static str,
    /// What to do next.
    pub(crate) then: &'static str,
}

/// Returns the advice on the first code that is known.
pub(crate) fn on_codes(codes: &[u32]) -> Option<&'static Advice> {
    codes.iter().find_map(|code| {
        let row = TABLE.iter().find(|(listed, _)| listed.contains(code));
        row.map(|(_, advice)| advice)
    })
}

/// Returns the advice on an OAuth error whose code is not known (RFC 6749, section 5.2).
pub(crate) fn on_error(error: &str) -> &'static Advice {
    let row = ERRORS.iter().find(|(listed, _)| listed.contains(&error));
    row.map_or(&UNKNOWN, |(_, advice)| advice)
}

const fn advice(kind: CredentialErrorKind, what: &'static str, then: &'static str) -> Advice {
    Advice { kind, what, then }
}

const UNKNOWN: Advice = advice(
    Denied,
    "Entra refused the request",
    "read what Entra says, and look its code up at https://login.microsoftonline.com/error",
);

const ERRORS: &[(&[&str], Advice)] = &[
    (
        &["invalid_client"],
        advice(
            InvalidClient,
            "Entra does not accept the application's secret, certificate or assertion",
            "read what Entra says, and replace it",
        ),
    ),
    (
        &[
            "consent_required",
            "interaction_required",
            "invalid_grant",
            "login_required",
        ],
        advice(
            InteractionRequired,
            "Entra wants a user to act",
            "read what Entra says, and have the user sign in again",
        ),
    ),
    (
        &["access_denied", "permission_denied"],
        advice(
            Denied,
            "the user or an administrator declined to consent",
            "tell them what the permissions are for, and start again",
        ),
    ),
    (
        &["server_error", "temporarily_unavailable"],
        advice(Unavailable, "Entra is in trouble", "try again later"),
    ),
    (
        &["slow_down"],
        advice(
            Throttled,
            "Entra is asked too often",
            "wait before asking again",
        ),
    ),
];

type Row = (&'static [u32], Advice);

/// One row for every distinct advice. No code is listed twice.
static TABLE: &[Row] = &[
    // The client secret.
    (
        &[7_000_215],
        advice(
            InvalidClient,
            "Entra does not accept the client secret",
            "paste the secret's value, not its id, and check that it belongs to this application; a secret \
             made minutes ago may not be known everywhere yet",
        ),
    ),
    (
        &[7_000_222],
        advice(
            InvalidClient,
            "the client secret has expired",
            "create a new one under \"Certificates & secrets\" of the app registration",
        ),
    ),
    (
        &[7_005_003],
        advice(
            InvalidClient,
            "the client secret or certificate was revoked",
            "create a new one, and find out who revoked it",
        ),
    ),
    (
        &[7_005_006],
        advice(
            Denied,
            "Microsoft has stopped giving tokens to this application",
            "see https://learn.microsoft.com/entra/workload-id/troubleshoot-revoked-credentials",
        ),
    ),
    (
        &[7_000_216, 7_000_218],
        advice(
            InvalidClient,
            "Entra wants the application to prove itself, and no secret or assertion arrived",
            "configure a client secret or a certificate",
        ),
    ),
    (
        &[70_002, 50_012],
        advice(
            InvalidClient,
            "Entra does not accept the application's credential",
            "check the client id, and replace the secret or certificate",
        ),
    ),
    (
        &[700_025],
        advice(
            Denied,
            "the application is registered as a public client, which may have no credential",
            "turn \"Allow public client flows\" off, and register the redirect URI for the platform \"Web\"",
        ),
    ),
    // The certificate and other assertions.
    (
        &[700_027, 7_000_274],
        advice(
            InvalidClient,
            "Entra does not know the certificate, or its signature is wrong",
            "upload the certificate's public part under \"Certificates & secrets\", and check that the \
             private key belongs to it",
        ),
    ),
    (
        &[700_024],
        advice(
            InvalidClient,
            "the assertion is outside its time",
            "set this machine's clock right",
        ),
    ),
    (
        &[700_021],
        advice(
            InvalidClient,
            "the assertion was made for another application",
            "check the client id",
        ),
    ),
    (
        &[1_000_502],
        advice(
            InvalidClient,
            "the certificate has expired or is not valid yet",
            "use a certificate that is valid now, and upload its public part",
        ),
    ),
    (
        &[7_000_214, 7_000_277],
        advice(
            InvalidClient,
            "the certificate was revoked",
            "use another certificate, and upload its public part",
        ),
    ),
    (
        &[700_030],
        advice(
            InvalidClient,
            "the certificate's subject name is not authorised for this application",
            "leave `x5c` out, unless the application trusts a subject name and issuer",
        ),
    ),
    (
        &[5_002_730, 5_002_738],
        advice(
            InvalidClient,
            "Entra does not take this kind of key",
            "use an RSA certificate of 2048 bits or more",
        ),
    ),
    (
        &[50_013, 50_027],
        advice(
            InvalidClient,
            "Entra does not accept the assertion",
            "read what Entra says; check the certificate, the client id and this machine's clock",
        ),
    ),
    (
        &[70_021],
        advice(
            InvalidClient,
            "no federated credential of the application fits the assertion",
            "compare issuer, subject and audience letter by letter; a new one works after some minutes",
        ),
    ),
    (
        &[700_211],
        advice(
            InvalidClient,
            "no federated credential has the assertion's issuer",
            "compare the issuer letter by letter, the slash at its end included",
        ),
    ),
    (
        &[700_212],
        advice(
            InvalidClient,
            "no federated credential has the assertion's audience",
            "ask the issuer for the audience that the federated credential names",
        ),
    ),
    (
        &[700_213, 7_002_137, 7_002_138],
        advice(
            InvalidClient,
            "no federated credential has the assertion's subject",
            "compare the subject letter by letter",
        ),
    ),
    (
        &[700_229],
        advice(
            InvalidClient,
            "this kind of token can't stand for the application",
            "give a token that its issuer made for a workload",
        ),
    ),
    (
        &[7_002_206],
        advice(
            InvalidClient,
            "the assertion's audience is that of another cloud",
            "use the audience of this cloud, as in api://AzureADTokenExchange",
        ),
    ),
    // The application, the tenant, the cloud.
    (
        &[700_016],
        advice(
            Denied,
            "the application does not exist in this tenant",
            "check the client id and the tenant id; an application made a minute ago may need another",
        ),
    ),
    (
        &[700_038],
        advice(
            Denied,
            "the client id is not that of an application",
            "copy the \"Application (client) ID\" from the overview page of the app registration",
        ),
    ),
    (
        &[7_000_112],
        advice(
            Denied,
            "the application is disabled",
            "have an administrator of the tenant enable it",
        ),
    ),
    (
        &[7_000_229],
        advice(
            Denied,
            "the application has no service principal in this tenant",
            "have an administrator consent to it, or run `az ad sp create --id <client id>`",
        ),
    ),
    (
        &[90_002],
        advice(
            Denied,
            "the tenant does not exist",
            "check the tenant id and the cloud",
        ),
    ),
    (
        &[50_194],
        advice(
            Denied,
            "the application is for one tenant only",
            "use the id of its own tenant",
        ),
    ),
    (
        &[9_001_023],
        advice(
            Denied,
            "an application's own token comes from exactly one tenant",
            "use a tenant id instead of `common`, `organizations` or `consumers`",
        ),
    ),
    (
        &[90_038, 900_382, 900_432, 900_439, 50_049],
        advice(
            Denied,
            "the tenant, user or application lives in another cloud",
            "choose the cloud in which the tenant lives",
        ),
    ),
    (
        &[500_011],
        advice(
            Denied,
            "the resource does not exist in this tenant",
            "check the scope and the tenant; the resource's application may have to be consented to first",
        ),
    ),
    (
        &[500_014],
        advice(
            Denied,
            "the resource is disabled in this tenant",
            "have an administrator enable its enterprise application",
        ),
    ),
    (
        &[1_002_012, 70_011, 28_002, 700_022],
        advice(
            Denied,
            "Entra does not take the scope",
            "ask for one resource, with `/.default` behind its identifier",
        ),
    ),
    (
        &[
            53_000, 53_001, 53_002, 53_003, 53_004, 53_005, 530_032, 530_035, 530_084,
        ],
        advice(
            Denied,
            "a Conditional Access policy of the tenant blocks the sign-in",
            "have an administrator look the correlation id up in the sign-in log; another secret won't help",
        ),
    ),
    (
        &[50_105, 501_051],
        advice(
            Denied,
            "the tenant lets only assigned users and applications in",
            "have an administrator assign this one under \"Users and groups\" of the enterprise application",
        ),
    ),
    (
        &[50_011],
        advice(
            Denied,
            "the redirect URI is not registered",
            "register it letter by letter for the platform \"Web\" under \"Authentication\"",
        ),
    ),
    (
        &[1_002_016],
        advice(
            Denied,
            "the connection used a TLS version that Entra refuses",
            "look for a proxy that speaks TLS 1.0 or 1.1, and have it speak TLS 1.2 or newer",
        ),
    ),
    // The user.
    (
        &[65_001],
        advice(
            InteractionRequired,
            "the application lacks consent",
            "have the user, or an administrator for all users, consent to it",
        ),
    ),
    (
        &[90_094],
        advice(
            InteractionRequired,
            "an administrator has to consent to the application",
            "send an administrator to the admin-consent address",
        ),
    ),
    (
        &[65_004],
        advice(
            Denied,
            "the user declined to consent",
            "tell the user what the permissions are for, and start again",
        ),
    ),
    (
        &[50_020, 50_034],
        advice(
            InteractionRequired,
            "the user's account is not in this tenant",
            "sign in with an account of the tenant, or have it invited as a guest",
        ),
    ),
    (
        &[50_076, 50_078, 50_079],
        advice(
            InteractionRequired,
            "multifactor authentication is needed",
            "have the user sign in again",
        ),
    ),
    (
        &[700_082, 700_081, 700_084, 70_043],
        advice(
            InteractionRequired,
            "the refresh token has expired",
            "have the user sign in again",
        ),
    ),
    (
        &[50_173],
        advice(
            InteractionRequired,
            "the sign-in was revoked, by a password reset or by \"Revoke sessions\"",
            "have the user sign in again",
        ),
    ),
    (
        &[70_000, 70_008],
        advice(
            InteractionRequired,
            "the authorization code or refresh token has expired or is not valid",
            "have the user sign in again",
        ),
    ),
    (
        &[54_005],
        advice(
            InteractionRequired,
            "the authorization code was redeemed already",
            "start the sign-in again",
        ),
    ),
    (
        &[50_147, 501_481, 501_491],
        advice(
            InteractionRequired,
            "the sign-in was started by somebody else (PKCE)",
            "start the sign-in again, in one browser",
        ),
    ),
    (
        &[700_005],
        advice(
            InteractionRequired,
            "the authorization code is for another tenant",
            "start the sign-in again, with an account of this tenant",
        ),
    ),
    // Trouble that passes.
    (
        &[
            50_033, 50_087, 90_006, 90_012, 90_013, 90_024, 90_033, 90_090,
        ],
        advice(Unavailable, "Entra is in trouble", "try again later"),
    ),
    (
        &[50_196],
        advice(
            Throttled,
            "Entra sees the same request over and over",
            "wait some minutes, and look for a caller that does not keep its token",
        ),
    ),
    (
        &[90_055],
        advice(
            Throttled,
            "Entra is asked too often",
            "wait before asking again",
        ),
    ),
    // Our own mistakes.
    (
        &[
            9_002_313, 900_144, 90_014, 70_003, 900_561, 901_002, 70_016, 70_018, 70_019,
        ],
        advice(
            Protocol,
            "Entra can't make sense of the request",
            "look for a proxy that changes requests, or else report this to keywheel",
        ),
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Every code of <https://learn.microsoft.com/entra/identity-platform/reference-error-codes> that
    /// the flows of this crate can meet, with what a caller does about it.
    const MET: &[(CredentialErrorKind, &[u32])] = &[
        (
            InvalidClient,
            &[
                7_000_215, 7_000_222, 7_000_216, 7_000_218, 7_005_003, 700_027, 700_024, 700_021,
                70_021, 700_211, 700_212, 700_213, 7_002_137, 7_002_138, 700_229, 7_002_206,
                1_000_502, 7_000_214, 7_000_274, 7_000_277, 700_030, 5_002_738, 5_002_730, 50_012,
                50_027, 50_013, 70_002,
            ],
        ),
        (
            Denied,
            &[
                7_005_006, 700_016, 700_038, 7_000_112, 7_000_229, 700_025, 90_002, 500_011,
                500_014, 1_002_012, 70_011, 1_002_016, 50_011, 65_004, 53_000, 53_001, 53_002,
                53_003, 53_004, 53_005, 530_032, 530_035, 530_084, 501_051, 50_105, 50_194,
                9_001_023, 900_439, 900_382, 900_432, 90_038, 28_002, 700_022,
            ],
        ),
        (
            InteractionRequired,
            &[
                70_008, 700_082, 700_081, 700_084, 70_043, 70_000, 50_173, 54_005, 65_001, 50_034,
                50_076, 50_079, 50_078, 501_481, 501_491, 50_147, 700_005,
            ],
        ),
        (
            Unavailable,
            &[
                90_013, 90_012, 90_006, 90_024, 90_033, 50_033, 50_087, 90_090,
            ],
        ),
        (Throttled, &[50_196, 90_055]),
        (
            Protocol,
            &[
                9_002_313, 900_144, 90_014, 70_003, 900_561, 901_002, 70_016, 70_018, 70_019,
            ],
        ),
    ];

    #[test]
    fn every_code_that_can_be_met_has_its_advice() {
        for (kind, codes) in MET {
            for code in *codes {
                let advice = on_codes(&[*code]);
                assert_eq!(advice.map(|advice| advice.kind), Some(*kind), "{code}");
            }
        }
    }

    #[test]
    fn no_code_is_listed_twice() {
        let mut seen = HashSet::new();
        for code in TABLE.iter().flat_map(|(codes, _)| *codes) {
            assert!(seen.insert(code), "{code}");
        }
    }

    #[test]
    fn advice_is_one_plain_line() {
        let table = TABLE.iter().map(|(_, advice)| advice);
        for advice in table.chain(ERRORS.iter().map(|(_, advice)| advice)) {
            for text in [advice.what, advice.then] {
                let plain = !text.contains('\n') && !text.contains("  ") && !text.ends_with('.');
                assert!(plain && !text.is_empty(), "{text:?}");
            }
        }
    }

    #[test]
    fn an_unknown_code_falls_back_on_the_oauth_error() {
        assert_eq!(on_codes(&[1, 2]), None);
        assert_eq!(on_error("invalid_client").kind, InvalidClient);
        assert_eq!(on_error("temporarily_unavailable").kind, Unavailable);
        assert_eq!(on_error("brand_new_error").kind, Denied);
    }
}
