use chrono::{DateTime, TimeDelta, Utc};
use keywheel_core::AccessToken;

/// How long before its end a token is renewed: time for several attempts, and what the other Azure
/// libraries keep. Tokens that last less than twice that are renewed at half their life.
const MARGIN: TimeDelta = TimeDelta::minutes(5);

/// Renewals are spread over this part of the margin, so that a thousand connections that were opened
/// together don't renew together.
const SPREAD: i64 = 5;

/// No token is renewed younger than this, whatever `refresh_in` says.
const YOUNGEST: TimeDelta = TimeDelta::minutes(1);

/// Returns when to get the next token. Counts in milliseconds, which is several times as fast as to count in dates.
pub(super) fn refresh_on(token: &AccessToken) -> DateTime<Utc> {
    let (start, end) = (
        token.obtained_on.timestamp_millis(),
        token.expires_on.timestamp_millis(),
    );
    let half = (end - start) / 2;
    let margin = half.min(MARGIN.num_milliseconds());
    let latest = end - margin;
    let due = token
        .refresh_on
        .map_or(latest, |due| latest.min(due.timestamp_millis()));
    let youngest = start + half.min(YOUNGEST.num_milliseconds());
    let due = youngest.max(due - jitter(token, margin / SPREAD));
    DateTime::from_timestamp_millis(due).unwrap_or(token.expires_on)
}

/// Hashed from the token, and so different for each connection and each replica.
fn jitter(token: &AccessToken, within: i64) -> i64 {
    // The end of a token is its signature, different in each.
    let end = token.token.expose().bytes().rev().take(8);
    let end = end.fold(0_u64, |end, byte| end << 8 | u64::from(byte));
    // Fibonacci hashing: the upper bits depend on all of them.
    let hash = end.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let share = i64::from(u16::try_from(hash >> 48).unwrap_or(0));
    within * share / i64::from(u16::MAX)
}
