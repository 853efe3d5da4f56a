use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Timelike as _, Utc};
use serde_json::{Map, Value, json};

use super::GraphError;
use crate::behaviour::{Behaviours, Seen};
use crate::directory::{Key, Kind, Object, Password, property};

/// Writes an object as Graph shows it to a read.
pub(crate) fn object(
    object: &Object,
    behaviours: &Behaviours,
    seen: Seen,
    with_keys: bool,
) -> Map<String, Value> {
    let passwords = object
        .passwords
        .iter()
        .filter(|it| it.history.in_reads(it.key_id, behaviours, seen));
    let keys = object
        .keys
        .iter()
        .filter(|it| it.history.in_reads(it.key_id, behaviours, seen));
    let mut shown = object.properties.clone();
    let mut set = |name: &str, value: Value| shown.insert(name.to_owned(), value);
    set("id", json!(object.id));
    set("appId", json!(object.app_id));
    set("createdDateTime", json!(date(object.created)));
    set(
        "passwordCredentials",
        passwords.map(|it| password(it, behaviours)).collect(),
    );
    set(
        "keyCredentials",
        keys.map(|it| key(it, with_keys)).collect(),
    );
    shown
}

/// Writes a client secret, without its text.
pub(crate) fn password(password: &Password, behaviours: &Behaviours) -> Value {
    let hint: String = password.text.expose().chars().take(3).collect();
    json!({
        "customKeyIdentifier": null,
        "displayName": password.display_name,
        "endDateTime": date(password.end),
        "hint": behaviours.hints.then_some(hint),
        "keyId": password.key_id,
        "secretText": null,
        "startDateTime": date(password.start),
    })
}

/// Writes a certificate; the certificate itself only where it is asked for.
pub(crate) fn key(key: &Key, with_key: bool) -> Value {
    json!({
        "customKeyIdentifier": key.identifier,
        "displayName": key.display_name,
        "endDateTime": date(key.end),
        "key": with_key.then(|| STANDARD.encode(&key.certificate.der)),
        "keyId": key.key_id,
        "startDateTime": date(key.start),
        "type": "AsymmetricX509Cert",
        "usage": key.usage,
    })
}

/// Writes a time as Graph does: to 100 ns, without trailing zeros.
pub(crate) fn date(time: DateTime<Utc>) -> String {
    let whole = time.format("%Y-%m-%dT%H:%M:%S");
    let ticks = format!("{:07}", time.nanosecond() % 1_000_000_000 / 100);
    match ticks.trim_end_matches('0') {
        "" => format!("{whole}Z"),
        fraction => format!("{whole}.{fraction}Z"),
    }
}

/// Reads `$select`: nothing when everything is wanted.
pub(crate) fn selection(kind: Kind, text: Option<&str>) -> Result<Option<Vec<&str>>, GraphError> {
    let Some(text) = text.filter(|text| *text != "*") else {
        return Ok(None);
    };
    let names: Vec<&str> = text.split(',').map(str::trim).collect();
    for name in &names {
        let known = property(kind, name).is_some()
            || matches!(*name, "keyCredentials" | "passwordCredentials");
        if !known {
            return Err(GraphError::no_property(name, kind));
        }
    }
    Ok(Some(names))
}

/// Keeps what was selected.
pub(crate) fn select(shown: &mut Map<String, Value>, names: Option<&[&str]>) {
    if let Some(names) = names {
        shown.retain(|name, _| names.contains(&name.as_str()));
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeZone as _;

    use super::*;

    #[test]
    fn dates_have_up_to_seven_digits() {
        let whole = Utc.with_ymd_and_hms(2026, 1, 2, 3, 4, 5).unwrap();
        let at = |nanos| date(whole.with_nanosecond(nanos).unwrap());

        assert_eq!(at(0), "2026-01-02T03:04:05Z");
        assert_eq!(at(546_838_700), "2026-01-02T03:04:05.5468387Z");
        assert_eq!(at(100_000_000), "2026-01-02T03:04:05.1Z");
    }
}
