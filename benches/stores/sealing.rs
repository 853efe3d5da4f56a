//! Sealing and opening beside the same cipher alone.

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use keywheel_connection::{KeyRing, Namespace, SealContext, Sealer};
use keywheel_core::Secret;
use uuid::Uuid;

use crate::table::{Table, Times};

const KEY: [u8; 32] = [7; 32];
/// Short rounds: whoever else uses the machine then troubles both contestants alike.
const TIMES: usize = 50;
const ROUNDS: usize = 20_001;

pub(crate) async fn run(table: &mut Table) {
    let ring = KeyRing::new(&KEY).unwrap();
    let namespace = Namespace::default();
    let context = SealContext {
        namespace: &namespace,
        connection: Uuid::from_u128(1).into(),
        field: "client-secret",
        generation: 1,
    };
    let secret = Secret::new("x".repeat(1_024));
    let key = RandomizedNonceKey::new(&AES_256_GCM, &KEY).unwrap();
    let aad = context.to_bytes();
    let (mut ours, mut floor) = (Times::default(), Times::default());
    for _ in 0..ROUNDS {
        ours.run(async {
            for _ in 0..TIMES {
                let sealed = ring.seal(&secret, &context).await.unwrap();
                let opened = ring.open(&sealed, &context).await.unwrap();
                assert_eq!(opened.expose().len(), 1_024);
            }
        })
        .await;
        floor
            .run(async {
                for _ in 0..TIMES {
                    let (nonce, sealed) = seal(&key, secret.expose().as_bytes(), &aad);
                    let opened = open(&key, nonce, &sealed, &aad);
                    assert_eq!(opened.len(), 1_024);
                }
            })
            .await;
    }
    let speeds = (ours.speed(TIMES), floor.speed(TIMES));
    table.speeds(
        "seal and open 1 KiB, beside aws-lc-rs (per second)",
        speeds,
        0.95,
    );
}

fn seal(key: &RandomizedNonceKey, secret: &[u8], aad: &[u8]) -> ([u8; NONCE_LEN], Vec<u8>) {
    let mut data = Vec::with_capacity(secret.len() + 16);
    data.extend_from_slice(secret);
    let nonce = key
        .seal_in_place_append_tag(Aad::from(aad), &mut data)
        .unwrap();
    (*nonce.as_ref(), data)
}

fn open(key: &RandomizedNonceKey, nonce: [u8; NONCE_LEN], sealed: &[u8], aad: &[u8]) -> String {
    let nonce = Nonce::assume_unique_for_key(nonce);
    let mut data = sealed.to_vec();
    let opened = key.open_in_place(nonce, Aad::from(aad), &mut data).unwrap();
    std::str::from_utf8(opened).unwrap().to_owned()
}
