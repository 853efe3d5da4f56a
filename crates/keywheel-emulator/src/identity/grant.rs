use serde::{Deserialize, Serialize};

use super::Refusal;
use super::issue::Issue;
use super::token::Exchange;
use crate::world::World;

/// What signed-in users have left behind.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Grants {}

/// Redeems an authorization code.
pub(crate) fn redeem_code(_world: &mut World, _exchange: &Exchange<'_>) -> Result<Issue, Refusal> {
    Err(Refusal::malformed_grant())
}

/// Redeems a refresh token.
pub(crate) fn redeem_refresh_token(
    _world: &mut World,
    _exchange: &Exchange<'_>,
) -> Result<Issue, Refusal> {
    Err(Refusal::malformed_grant())
}
