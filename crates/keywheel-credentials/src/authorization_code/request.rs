use keywheel_core::Scope;

/// What a sign-in asks for.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct AuthorizationRequest {
    /// What tokens are wanted for. An id token and a refresh token are asked for with them.
    pub scopes: Vec<Scope>,
    /// What Entra should ask the user for in any case. Default: whatever it finds necessary.
    pub prompt: Option<Prompt>,
    /// The account to sign in with, mostly an e-mail address: it is filled in for the user.
    pub login_hint: Option<String>,
    /// The domain of the account, which spares the user a page where sign-in is federated.
    pub domain_hint: Option<String>,
}

/// What the user is asked for in any case
/// (<https://learn.microsoft.com/entra/identity-platform/v2-oauth2-auth-code-flow>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Prompt {
    /// Consent, given before or not.
    Consent,
    /// The password, signed in or not.
    Login,
    /// Nothing: who is not signed in gets an error.
    None,
    /// Which account to use.
    SelectAccount,
}

impl AuthorizationRequest {
    /// Returns a request for tokens of `scope`.
    #[must_use]
    pub fn new(scope: Scope) -> Self {
        Self {
            scopes: vec![scope],
            prompt: None,
            login_hint: None,
            domain_hint: None,
        }
    }

    /// Sets what the user is asked for in any case.
    #[must_use]
    pub fn with_prompt(mut self, prompt: Prompt) -> Self {
        self.prompt = Some(prompt);
        self
    }

    /// Sets the account to sign in with.
    #[must_use]
    pub fn with_login_hint(mut self, account: impl Into<String>) -> Self {
        self.login_hint = Some(account.into());
        self
    }

    /// Sets the domain of the account.
    #[must_use]
    pub fn with_domain_hint(mut self, domain: impl Into<String>) -> Self {
        self.domain_hint = Some(domain.into());
        self
    }
}

impl Prompt {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Consent => "consent",
            Self::Login => "login",
            Self::None => "none",
            Self::SelectAccount => "select_account",
        }
    }
}
