//! Finds out what a file is, and opens it.

use std::str;

use aws_lc_rs::rsa::KeyPair;
use keywheel_core::Secret;
use zeroize::Zeroizing;

use super::der::{self, Kind};
use super::pem::{self, Content};
use super::{Certificate, InvalidCertificate, private_key};

/// Certificates and keys have some kilobytes, the longest chains some hundred.
const LONGEST: usize = 1 << 20;

/// What one or two files hold.
#[derive(Default)]
pub(super) struct Contents {
    certificates: Vec<Vec<u8>>,
    keys: Vec<Key>,
    archives: Vec<Zeroizing<Vec<u8>>>,
}

enum Key {
    Der(Kind, Zeroizing<Vec<u8>>),
    LegacyEncryption,
}

/// Reads a file of any form.
pub(super) fn read(file: &[u8]) -> Result<Contents, InvalidCertificate> {
    if file.len() > LONGEST {
        return Err(InvalidCertificate::TooLarge);
    }
    let mut contents = Contents::default();
    if der::kind(file).is_some() {
        contents.add(Zeroizing::new(file.to_vec()))?;
        return Ok(contents);
    }
    let text = str::from_utf8(file).map_err(|_| InvalidCertificate::Unreadable)?;
    let text = pem::unescape(text);
    if pem::is_pem(&text) {
        for block in pem::blocks(&text)? {
            match block.content {
                Content::Der(der) => contents.add(der).map_err(|_| pem::damaged(block.label))?,
                Content::LegacyEncryption => contents.keys.push(Key::LegacyEncryption),
            }
        }
    } else {
        // The bare base64 of a text box or of Azure Key Vault.
        let der = pem::base64(&text).ok_or(InvalidCertificate::Unreadable)?;
        contents.add(der)?;
    }
    Ok(contents)
}

impl Contents {
    fn add(&mut self, der: Zeroizing<Vec<u8>>) -> Result<(), InvalidCertificate> {
        match der::kind(&der).ok_or(InvalidCertificate::Unreadable)? {
            Kind::Certificate => self.certificates.push(der.to_vec()),
            Kind::Pfx => self.archives.push(der),
            kind => self.keys.push(Key::Der(kind, der)),
        }
        Ok(())
    }

    pub(super) fn append(&mut self, mut other: Self) {
        self.certificates.append(&mut other.certificates);
        self.keys.append(&mut other.keys);
        self.archives.append(&mut other.archives);
    }

    /// Decrypts what is encrypted, and puts the parts together.
    pub(super) fn open(
        mut self,
        password: Option<&Secret>,
    ) -> Result<Certificate, InvalidCertificate> {
        for archive in std::mem::take(&mut self.archives) {
            self.add_archive(&archive, password)?;
        }
        let key = match self.keys.as_slice() {
            [] => return Err(InvalidCertificate::NoPrivateKey),
            [key] => key.open(password)?,
            _ => return Err(InvalidCertificate::SeveralPrivateKeys),
        };
        Certificate::assemble(&self.certificates, key)
    }

    #[cfg(feature = "pfx")]
    fn add_archive(
        &mut self,
        archive: &[u8],
        password: Option<&Secret>,
    ) -> Result<(), InvalidCertificate> {
        let archive = super::pfx::open(archive, password)?;
        self.certificates.extend(archive.certificates);
        for key in archive.keys {
            self.add(key)
                .map_err(|_| InvalidCertificate::MalformedKey)?;
        }
        Ok(())
    }

    #[cfg(not(feature = "pfx"))]
    #[expect(clippy::needless_pass_by_ref_mut, reason = "the feature changes it")]
    fn add_archive(
        &mut self,
        _archive: &[u8],
        _password: Option<&Secret>,
    ) -> Result<(), InvalidCertificate> {
        Err(InvalidCertificate::FeatureDisabled { feature: "pfx" })
    }
}

impl Key {
    fn open(&self, password: Option<&Secret>) -> Result<KeyPair, InvalidCertificate> {
        match self {
            Self::Der(Kind::EncryptedKey, der) => {
                let key = decrypt(der, password)?;
                private_key::parse(Kind::Pkcs8Key, &key)
            }
            Self::Der(kind, der) => private_key::parse(*kind, der),
            Self::LegacyEncryption => Err(InvalidCertificate::UnsupportedEncryption),
        }
    }
}

#[cfg(feature = "encrypted-keys")]
use super::encrypted_key::decrypt;

#[cfg(not(feature = "encrypted-keys"))]
fn decrypt(_: &[u8], _: Option<&Secret>) -> Result<Zeroizing<Vec<u8>>, InvalidCertificate> {
    Err(InvalidCertificate::FeatureDisabled {
        feature: "encrypted-keys",
    })
}
