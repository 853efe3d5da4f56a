use keywheel_connection::{Inspection, Listed, Mode, RotationSettings};
use keywheel_core::{ClientSecret, KeyId};

use super::ConnectionError;

/// Finds the secret that the user gave among those of the application.
///
/// No API says which key id a secret value belongs to, and a wrong one would revoke somebody else's
/// secret. So a key id that was given must be listed, and fit the `hint`: the first three characters of
/// the secret. Where none was given, exactly one must fit.
pub(super) fn adopt<'a>(
    read: &'a Inspection,
    key_id: Option<KeyId>,
    secret: &ClientSecret,
) -> Result<&'a Listed, ConnectionError> {
    match key_id {
        Some(key_id) => given(read, key_id, secret),
        None => by_hint(read, secret),
    }
}

/// Returns the settings for an application: one that may hold two secrets needs its own way to rotate.
pub(super) fn fitting(mut settings: RotationSettings, read: &Inspection) -> RotationSettings {
    if read.secret_limit.is_some_and(|limit| limit <= 2) {
        settings.mode = Mode::OnePlusOne;
    }
    settings
}

fn given<'a>(
    read: &'a Inspection,
    key_id: KeyId,
    secret: &ClientSecret,
) -> Result<&'a Listed, ConnectionError> {
    let Some(listed) = read.secret(&key_id) else {
        return Err(ConnectionError::invalid(format!(
            "key id: the application has no secret {key_id}; it has {}",
            table(&read.secrets)
        )));
    };
    if listed.hint.is_some() && !fits(listed, secret) {
        return Err(ConnectionError::invalid(format!(
            "key id: {key_id} is not the id of the given secret, which begins otherwise; leave the key id \
             out to have it found, or choose from {}",
            table(&read.secrets)
        )));
    }
    Ok(listed)
}

fn by_hint<'a>(read: &'a Inspection, secret: &ClientSecret) -> Result<&'a Listed, ConnectionError> {
    let fitting: Vec<_> = read
        .secrets
        .iter()
        .filter(|listed| listed.key_id.is_some() && fits(listed, secret))
        .collect();
    match fitting.as_slice() {
        [listed] => Ok(listed),
        [] => Err(ConnectionError::invalid(format!(
            "key id: none of the application's secrets begins like the given one, so its key id can't be \
             found; give it. The application has {}",
            table(&read.secrets)
        ))),
        _ => Err(ConnectionError::invalid(format!(
            "key id: several of the application's secrets begin like the given one; give its key id. \
             The application has {}",
            table(&read.secrets)
        ))),
    }
}

fn fits(listed: &Listed, secret: &ClientSecret) -> bool {
    let hint = listed.hint.as_deref().unwrap_or_default();
    !hint.is_empty() && secret.value().expose().starts_with(hint)
}

/// A new secret is added before the old one goes, so there must be room for it.
pub(super) fn has_room(read: &Inspection) -> Result<(), ConnectionError> {
    match read.secret_limit {
        Some(limit) if read.secrets.len() >= usize::from(limit) => {
            Err(ConnectionError::invalid(format!(
                "the application may hold {limit} secrets, because its audience includes personal \
                 accounts, and holds {}; remove one, so that there is room for a new one",
                table(&read.secrets)
            )))
        }
        _ => Ok(()),
    }
}

/// The secrets by key id, name and end: what the portal shows.
fn table(secrets: &[Listed]) -> String {
    if secrets.is_empty() {
        return "none".to_owned();
    }
    let row = |listed: &Listed| {
        let key_id = listed
            .key_id
            .map_or_else(|| "without id".to_owned(), |id| id.to_string());
        let name = listed.display_name.as_deref().unwrap_or("without name");
        let end = listed
            .end
            .map_or_else(|| "?".to_owned(), |end| end.format("%F").to_string());
        format!("{key_id} ({name:?}, ends {end})")
    };
    secrets.iter().map(row).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use keywheel_core::Secret;
    use uuid::Uuid;

    use super::*;

    const GIVEN: &str = "abc8Q~the-secret-that-was-given";

    fn key_id(n: u128) -> KeyId {
        Uuid::from_u128(n).into()
    }

    /// An application with secrets of these hints; the n-th has the key id n.
    fn read(hints: &[Option<&str>]) -> Inspection {
        let listed = hints.iter().zip(1..).map(|(hint, n)| {
            let hint = hint.map(str::to_owned);
            Listed::new(Some(key_id(n)), None).with(hint, None)
        });
        Inspection::new(Uuid::from_u128(7).into(), listed.collect())
    }

    fn adopted(hints: &[Option<&str>], key_id: Option<KeyId>) -> Result<Option<KeyId>, String> {
        let secret = ClientSecret::new(Secret::new(GIVEN)).unwrap();
        let adopted = adopt(&read(hints), key_id, &secret).map(|listed| listed.key_id);
        adopted.map_err(|error| error.to_string())
    }

    #[test]
    fn a_key_id_is_found_where_one_secret_alone_begins_like_the_given_one() {
        let found = adopted(&[Some("xyz"), Some("abc"), None], None);
        assert_eq!(found, Ok(Some(key_id(2))));

        let several = adopted(&[Some("abc"), Some("abc")], None).unwrap_err();
        assert!(several.starts_with("key id: several"), "{several}");
        assert!(several.contains(&key_id(2).to_string()), "{several}");

        let none = adopted(&[Some("xyz"), None], None).unwrap_err();
        assert!(none.starts_with("key id: none"), "{none}");
    }

    #[test]
    fn a_key_id_of_several_that_begin_alike_is_taken_and_a_foreign_one_refused() {
        let hints = [Some("abc"), Some("abc"), Some("xyz")];

        assert_eq!(adopted(&hints, Some(key_id(2))), Ok(Some(key_id(2))));
        for wrong in [3, 99] {
            let error = adopted(&hints, Some(key_id(wrong))).unwrap_err();
            assert!(error.starts_with("key id: "), "{error}");
        }
    }

    /// No API says which key id a secret has: where there is no hint, whoever gave the id is believed.
    #[test]
    fn a_key_id_of_a_secret_without_a_hint_is_believed() {
        let believed = adopted(&[None, Some("abc")], Some(key_id(1)));

        assert_eq!(believed, Ok(Some(key_id(1))));
    }
}
