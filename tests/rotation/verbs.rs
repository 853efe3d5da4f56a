//! What people do with connections.

mod begin;
mod leave;
mod lost;
mod managed;
mod secrets;
mod steer;

use keywheel_connection::Actor;

pub(crate) fn me() -> Actor {
    Actor::named("test")
}
