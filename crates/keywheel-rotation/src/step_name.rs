//! What steps are called, in troubles, events and metrics alike. Records hold these names: keep them.

use crate::Step;

pub(crate) const MINT: &str = "mint";
pub(crate) const PROVE: &str = "prove";
pub(crate) const PUBLISH: &str = "publish";
pub(crate) const DELIVER: &str = "deliver";
pub(crate) const INSPECT: &str = "inspect";
pub(crate) const REVOKE: &str = "revoke";

/// Returns the name of a step that is made.
pub(crate) fn of(step: &Step) -> Option<&'static str> {
    Some(match step {
        Step::Mint { .. } => MINT,
        Step::Prove => PROVE,
        Step::Publish { .. } => PUBLISH,
        Step::Deliver { .. } => DELIVER,
        Step::Inspect => INSPECT,
        Step::Retire { .. } => REVOKE,
        Step::Delete => "delete",
        Step::Wait { .. } => return None,
        _ => "record",
    })
}
