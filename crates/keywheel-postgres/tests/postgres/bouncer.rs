//! The whole contract once more, behind a PgBouncer that pools transactions.

use keywheel_connection::{dead_letter_conformance, store_conformance};

use crate::contract::OnServer;

store_conformance!(OnServer::behind_a_pooler());
dead_letter_conformance!(OnServer::behind_a_pooler());
