//! A client assertion costs its signature and little else.

use std::sync::Arc;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::RSA_PSS_SHA256;
use benches::{Bounds, Race};
use keywheel_core::{Cloud, TokenCredential};
use keywheel_credentials::{Certificate, CertificateCredential};
use rcgen::{CertificateParams, PKCS_RSA_SHA256};

use crate::stand_in::{Memory, client, endpoint, graph};

/// As long as the header and the claims of an assertion.
const MESSAGE: [u8; 600] = [b'e'; 600];

pub(crate) fn check(bounds: &mut Bounds) {
    let key = rcgen::KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.not_before = rcgen::date_time_ymd(2024, 1, 1);
    params.not_after = rcgen::date_time_ymd(2120, 1, 1);
    let pem = params.self_signed(&key).unwrap().pem() + &key.serialize_pem();
    let raw = KeyPair::from_pkcs8(key.serialized_der()).unwrap();

    let certificate = Certificate::read(pem.as_bytes(), None).unwrap();
    let http = Arc::new(Memory::default());
    let endpoint = endpoint(Arc::clone(&http), &Cloud::public());
    let credential = CertificateCredential::new(endpoint, client(), certificate).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let mut last = runtime.block_on(credential.get_token(&graph())).unwrap();

    let random = SystemRandom::new();
    let mut signature = vec![0; raw.public_modulus_len()];
    // Not the signature alone: the whole way to a token, the network left out.
    let times = Race::new("assertion by PS256, RSA 2048", 1)
        .with("keywheel", || {
            let request = graph().rejecting(&last);
            last = runtime.block_on(credential.get_token(&request)).unwrap();
        })
        .with("aws-lc-rs", || {
            raw.sign(&RSA_PSS_SHA256, &random, &MESSAGE, &mut signature)
                .unwrap();
        })
        .run();
    times.at_least(bounds, "keywheel", 0.95, "aws-lc-rs");
}
