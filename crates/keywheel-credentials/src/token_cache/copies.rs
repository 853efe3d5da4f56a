use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use keywheel_core::Secret;

/// The copies of a token, one for each group of threads that asks for it but the first, which has the original.
///
/// Who takes a token counts itself among its owners, and counts itself out again. Threads that write to the
/// same count wait for each other, which is as dear as all else about a token at hand. With a count for each
/// group they hardly meet. Only what many threads ask for is copied.
#[derive(Clone, Debug, Default)]
pub(super) struct Copies(OnceLock<Box<[OnceLock<Secret>; GROUPS - 1]>>);

/// Enough that of a few busy threads hardly two share a group. Each costs a copy, of about two kilobytes, of a token
/// that it asks for.
const GROUPS: usize = 8;

impl Copies {
    /// Returns the copy of the group that this thread is in.
    pub(super) fn of(&self, original: &Secret) -> Secret {
        self.of_group(GROUP.with(|group| *group), original).clone()
    }

    fn of_group<'a>(&'a self, group: usize, original: &'a Secret) -> &'a Secret {
        let Some(other) = group.checked_sub(1) else {
            return original;
        };
        let others = self.0.get_or_init(Box::default);
        others[other].get_or_init(|| Secret::new(original.expose()))
    }
}

thread_local! {
    static GROUP: usize = NEXT.fetch_add(1, Ordering::Relaxed) % GROUPS;
}

static NEXT: AtomicUsize = AtomicUsize::new(0);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_group_of_threads_has_a_copy_of_its_own() {
        let (copies, original) = (Copies::default(), Secret::new("a token"));
        let of = |group| copies.of_group(group, &original);

        let places: Vec<_> = (0..GROUPS)
            .map(|group| of(group).expose().as_ptr())
            .collect();

        for group in 0..GROUPS {
            assert_eq!(of(group).expose(), "a token");
            assert_eq!(of(group).expose().as_ptr(), places[group], "kept");
            assert!(!places[..group].contains(&places[group]), "{group}");
        }
    }

    #[test]
    fn a_thread_stays_in_its_group() {
        let (copies, original) = (Copies::default(), Secret::new("a token"));

        let (first, again) = (copies.of(&original), copies.of(&original));

        assert_eq!(first.expose().as_ptr(), again.expose().as_ptr());
    }
}
