use crate::call::Pairs;

/// The page that asks for user and password.
pub(crate) fn sign_in(
    action: &str,
    context: &str,
    application: &str,
    name: &str,
    error: Option<&str>,
) -> String {
    let error = error.map_or_else(String::new, |error| {
        format!(
            "<p role=\"alert\" id=\"usernameError\">{}</p>",
            escape(error)
        )
    });
    document(
        "Sign in to your account",
        &format!(
            "<h1>Sign in</h1><p>to continue to {}</p>{error}\
             <form method=\"post\" action=\"{}\">\
             <input type=\"hidden\" name=\"ctx\" value=\"{}\">\
             <p><label>User <input id=\"i0116\" name=\"login\" type=\"email\" autocomplete=\"username\" \
             value=\"{}\"></label></p>\
             <p><label>Password <input id=\"i0118\" name=\"passwd\" type=\"password\" \
             autocomplete=\"current-password\"></label></p>\
             <p><button id=\"idSIButton9\" name=\"action\" value=\"signin\">Sign in</button> \
             <button id=\"idBtn_Back\" name=\"action\" value=\"cancel\">Cancel</button></p></form>",
            escape(application),
            escape(action),
            escape(context),
            escape(name),
        ),
    )
}

/// The page that asks for consent.
pub(crate) fn consent(
    action: &str,
    context: &str,
    application: &str,
    permissions: &[&str],
    for_all: Option<bool>,
) -> String {
    let listed: String = permissions
        .iter()
        .map(|permission| format!("<li>{}</li>", escape(permission)))
        .collect();
    let all = match for_all {
        Some(true) => "<p>You consent on behalf of your organization.</p>".to_owned(),
        Some(false) => "<p><label><input id=\"idChkBx\" type=\"checkbox\" name=\"all\" value=\"1\"> Consent on \
                        behalf of your organization</label></p>"
            .to_owned(),
        None => String::new(),
    };
    document(
        "Permissions requested",
        &format!(
            "<h1>Permissions requested</h1><p>{} would like to:</p><ul>{listed}</ul>\
             <form method=\"post\" action=\"{}\">\
             <input type=\"hidden\" name=\"ctx\" value=\"{}\">{all}\
             <p><button id=\"idSIButton9\" name=\"action\" value=\"accept\">Accept</button> \
             <button id=\"idBtn_Back\" name=\"action\" value=\"decline\">Decline</button></p></form>",
            escape(application),
            escape(action),
            escape(context),
        ),
    )
}

/// The page for a user who may not consent to what is asked for.
pub(crate) fn approval(action: &str, context: &str, application: &str, text: &str) -> String {
    document(
        "Need admin approval",
        &format!(
            "<h1>Need admin approval</h1><p>{}</p><p>{}</p>\
             <form method=\"post\" action=\"{}\">\
             <input type=\"hidden\" name=\"ctx\" value=\"{}\">\
             <p><button id=\"idBtn_Back\" name=\"action\" value=\"decline\">Return to the application without \
             granting consent</button></p></form>",
            escape(application),
            escape(text),
            escape(action),
            escape(context),
        ),
    )
}

/// The page for what is never sent to an address that may not be the application's.
pub(crate) fn error(description: &str) -> String {
    document(
        "Sign in to your account",
        &format!(
            "<h1>Sign in</h1><p>Sorry, but we're having trouble signing you in.</p>\
             <p role=\"alert\" id=\"exceptionMessageContainer\">{}</p>",
            escape(description)
        ),
    )
}

/// A page with a text and nothing to do.
pub(crate) fn notice(title: &str, text: &str) -> String {
    document(
        title,
        &format!("<h1>{}</h1><p>{}</p>", escape(title), escape(text)),
    )
}

/// The page that posts an answer to the application by itself.
pub(crate) fn form_post(uri: &str, pairs: &Pairs) -> String {
    let fields: String = pairs
        .0
        .iter()
        .map(|(name, value)| {
            format!(
                "<input type=\"hidden\" name=\"{}\" value=\"{}\">",
                escape(name),
                escape(value)
            )
        })
        .collect();
    document(
        "Working...",
        &format!(
            "<form method=\"POST\" name=\"hiddenform\" action=\"{}\">{fields}\
             <noscript><p>Script is disabled. Click Submit to continue.</p>\
             <input type=\"submit\" value=\"Submit\"></noscript></form>\
             <script>document.forms[0].submit();</script>",
            escape(uri)
        ),
    )
}

fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{}</title></head><body>{body}</body></html>",
        escape(title)
    )
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_from_outside_is_escaped() {
        let evil = "\"><script>alert('x')</script>";
        let pairs = Pairs(vec![(evil.to_owned(), evil.to_owned())]);
        let pages = [
            sign_in(evil, evil, evil, evil, Some(evil)),
            consent(evil, evil, evil, &[evil], None),
            approval(evil, evil, evil, evil),
            error(evil),
            notice(evil, evil),
            form_post(evil, &pairs),
        ];

        for page in pages {
            assert!(!page.contains("<script>alert"), "{page}");
        }
    }
}
