use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use uuid::{Builder, Uuid};

use crate::SecretText;

/// Returns bytes nobody can guess.
pub(crate) fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    fill(&mut bytes);
    bytes
}

/// Fills `bytes` from a supply: a token takes a dozen draws, and each call of the generator has its price.
fn fill(bytes: &mut [u8]) {
    thread_local! {
        static SUPPLY: RefCell<Supply> = const { RefCell::new(Supply { drawn: [0; SUPPLY_SIZE], left: 0 }) };
    }
    SUPPLY.with_borrow_mut(|supply| {
        for byte in bytes {
            *byte = supply.next();
        }
    });
}

const SUPPLY_SIZE: usize = 4096;

/// Random bytes, each given out once.
struct Supply {
    drawn: [u8; SUPPLY_SIZE],
    left: usize,
}

impl Supply {
    fn next(&mut self) -> u8 {
        if self.left == 0 {
            aws_lc_rs::rand::fill(&mut self.drawn).expect("the system's random source answers");
            self.left = SUPPLY_SIZE;
        }
        self.left -= 1;
        std::mem::take(&mut self.drawn[self.left])
    }
}

/// Returns a fresh random GUID.
pub(crate) fn guid() -> Uuid {
    Builder::from_random_bytes(bytes()).into_uuid()
}

/// Returns a GUID that follows from `parts`, so that a seed has the same ids at each start.
pub(crate) fn guid_of(parts: &[&str]) -> Uuid {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, parts.join("\n").as_bytes());
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest.as_ref()[..16]);
    Builder::from_random_bytes(bytes).into_uuid()
}

/// Returns an opaque text of `length` URL-safe characters.
pub(crate) fn opaque(length: usize) -> String {
    pick(
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        length,
    )
}

/// Returns a client secret in the form the service has used since 2021: 40 characters,
/// `[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.-]{34}`.
pub(crate) fn client_secret() -> SecretText {
    let alphanumeric = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_~.-";
    SecretText::new(format!(
        "{}{}Q~{}",
        pick(&alphanumeric[..65], 3),
        pick(b"0123456789", 1),
        pick(alphanumeric, 34)
    ))
}

/// Draws `length` characters. The remainder's slight bias is of no matter for an emulator.
fn pick(from: &[u8], length: usize) -> String {
    let mut drawn = vec![0; length];
    fill(&mut drawn);
    drawn
        .iter()
        .map(|byte| char::from(from[usize::from(*byte) % from.len()]))
        .collect()
}

/// Repeatable draws for behaviours and faults: SplitMix64, whose sequence follows from its seed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Draws(u64);

impl Draws {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Draws a number below `end`; 0 when `end` is 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next().checked_rem(end).unwrap_or(0)
    }

    /// Tells, with `probability`, yes.
    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && unit(self.next()) < probability
    }
}

/// Returns a number that follows from `seed` and `parts`: the same question has the same answer,
/// whatever was asked before.
pub(crate) fn hash(seed: u64, parts: &[u64]) -> u64 {
    parts.iter().fold(mix(seed ^ 0x6b65_7977), |state, part| {
        mix(state.rotate_left(5) ^ part)
    })
}

/// Maps a draw to `0.0..1.0`.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are kept, which is all a float holds"
)]
pub(crate) fn unit(draw: u64) -> f64 {
    (draw >> 11) as f64 / (1_u64 << 53) as f64
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_secret_has_the_recorded_shape() {
        for _ in 0..200 {
            let secret = client_secret();
            let text = secret.expose();

            assert_eq!(text.len(), 40, "{text}");
            assert!(text.as_bytes()[3].is_ascii_digit(), "{text}");
            assert_eq!(&text[4..6], "Q~", "{text}");
            assert!(!text[..3].contains('-'), "{text}");
            assert!(
                text.chars()
                    .all(|c| c.is_ascii_alphanumeric() || "_~.-".contains(c)),
                "{text}"
            );
        }
    }

    #[test]
    fn draws_follow_from_their_seed() {
        let draws = |seed| {
            let mut draws = Draws::seeded(seed);
            (0..4).map(|_| draws.next()).collect::<Vec<_>>()
        };

        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn a_chance_comes_about_as_often_as_it_says() {
        let mut draws = Draws::seeded(1);
        let hits = (0..10_000).filter(|_| draws.chance(0.25)).count();

        assert!((2_200..2_800).contains(&hits), "{hits}");
        assert!(!draws.chance(0.0));
    }

    #[test]
    fn derived_ids_are_the_same_each_time() {
        assert_eq!(guid_of(&["a", "b"]), guid_of(&["a", "b"]));
        assert_ne!(guid_of(&["a", "b"]), guid_of(&["a", "c"]));
    }
}
