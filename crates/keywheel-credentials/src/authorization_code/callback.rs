use keywheel_core::Secret;
use url::form_urlencoded;

use super::error::{AuthorizationError, RedirectRefusal};

/// What came back with the browser (RFC 6749, sections 4.1.2 and 4.1.2.1).
#[derive(Clone, Debug)]
pub struct Callback {
    state: Secret,
    answer: Answer,
}

#[derive(Clone, Debug)]
enum Answer {
    Code(Secret),
    Consent,
    Refusal(RedirectRefusal),
}

/// Longer answers are not Entra's: codes have one to two kilobytes.
const LONGEST: usize = 16 << 10;

#[derive(Default)]
struct Fields {
    admin_consent: Option<String>,
    code: Option<String>,
    error: Option<String>,
    error_description: Option<String>,
    error_subcode: Option<String>,
    state: Option<String>,
}

impl Callback {
    /// Reads the query of the address that the browser came back to, without the question mark.
    ///
    /// # Errors
    ///
    /// Returns an error when it is no answer of Entra's: without `state`, with neither a code nor an
    /// error, with a field twice, or too long. A refusal is not an error here: completing tells it.
    pub fn parse(query: &str) -> Result<Self, AuthorizationError> {
        if query.len() > LONGEST {
            return Err(AuthorizationError::malformed("it is too long"));
        }
        let fields = Fields::read(query)?;
        let state = fields
            .state
            .filter(|state| !state.is_empty())
            .ok_or_else(|| AuthorizationError::malformed("it has no `state`"))?;
        let answer = match (fields.error, fields.code) {
            (Some(error), _) => Answer::Refusal(RedirectRefusal {
                error,
                description: fields.error_description.unwrap_or_default(),
                subcode: fields.error_subcode,
            }),
            (None, Some(code)) if !code.is_empty() => Answer::Code(Secret::new(code)),
            _ if fields
                .admin_consent
                .is_some_and(|yes| yes.eq_ignore_ascii_case("true")) =>
            {
                Answer::Consent
            }
            _ => {
                return Err(AuthorizationError::malformed(
                    "it has neither a code nor an error",
                ));
            }
        };
        Ok(Self {
            state: Secret::new(state),
            answer,
        })
    }

    /// Returns the value by which to find the sign-in that this answers.
    #[must_use]
    pub fn state(&self) -> &Secret {
        &self.state
    }

    pub(super) fn into_code(self) -> Result<Secret, AuthorizationError> {
        match self.answer {
            Answer::Code(code) => Ok(code),
            Answer::Consent => Err(AuthorizationError::malformed("it answers something else")),
            Answer::Refusal(refusal) => Err(AuthorizationError::refused(&refusal)),
        }
    }

    pub(super) fn into_consent(self) -> Result<(), AuthorizationError> {
        match self.answer {
            Answer::Consent => Ok(()),
            Answer::Code(_) => Err(AuthorizationError::malformed("it answers something else")),
            Answer::Refusal(refusal) => Err(AuthorizationError::refused(&refusal)),
        }
    }
}

impl Fields {
    /// Reads the fields that count. One that comes twice has been tampered with (RFC 6749, section 3.1).
    fn read(query: &str) -> Result<Self, AuthorizationError> {
        let mut fields = Self::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let field = match &*name {
                "admin_consent" => &mut fields.admin_consent,
                "code" => &mut fields.code,
                "error" => &mut fields.error,
                "error_description" => &mut fields.error_description,
                "error_subcode" => &mut fields.error_subcode,
                "state" => &mut fields.state,
                _ => continue,
            };
            if field.replace(value.into_owned()).is_some() {
                return Err(AuthorizationError::malformed("a field comes twice"));
            }
        }
        Ok(fields)
    }
}
