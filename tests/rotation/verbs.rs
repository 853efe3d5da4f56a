//! What people do with connections.

mod begin;
mod leave;
mod managed;
mod secrets;
mod steer;

use keywheel_connection::Actor;

pub(crate) fn me() -> Actor {
    Actor::named("test")
}
