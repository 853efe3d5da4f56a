use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// What OpenSSL made for these tests: a chain of two, and keys of every kind.
pub(super) struct Workshop(pub(super) TempDir);

impl Workshop {
    pub(super) fn equip() -> Self {
        let made = Self(TempDir::new().unwrap());
        let days = "-days 3650";
        made.openssl(&format!(
            "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.pem -subj /CN=Issuer {days}"
        ));
        made.openssl("genrsa -out key.pem 2048");
        made.openssl("req -new -key key.pem -subj /CN=Leaf -out leaf.csr");
        made.openssl(&format!(
            "x509 -req -in leaf.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out leaf.pem {days}"
        ));
        made.openssl("rsa -in key.pem -traditional -out key.pkcs1.pem");
        made.openssl("rsa -in key.pem -traditional -aes128 -passout pass:pw -out key.rfc1423.pem");
        made.openssl("pkcs8 -topk8 -in key.pem -outform DER -nocrypt -out key.der");
        made.openssl("x509 -in leaf.pem -outform DER -out leaf.der");
        for (name, subject) in [
            ("weak", "rsa:1024"),
            ("curve", "ec -pkeyopt ec_paramgen_curve:P-256"),
        ] {
            made.openssl(&format!(
                "req -x509 -newkey {subject} -nodes -keyout {name}.key -out {name}.pem -subj /CN=Bad {days}"
            ));
        }
        made.openssl("ec -in curve.key -out curve.sec1.key");
        for (name, cipher) in [
            ("aes", "-v2 aes-256-cbc"),
            ("3des", "-v2 des3"),
            ("scrypt", "-scrypt -scrypt_N 1024"),
            ("pbes1", "-v1 PBE-SHA1-3DES"),
            ("costly", "-v2 aes-256-cbc -iter 2000001"),
            ("quick", "-v2 aes-256-cbc -iter 16"),
        ] {
            made.openssl(&format!(
                "pkcs8 -topk8 -in key.pem {cipher} -passout pass:pw -out key.{name}.pem"
            ));
        }
        for (name, options) in [
            ("modern", "-passout pass:pw"),
            ("umlaut", "-passout pass:Schlüssel"),
            ("empty", "-passout pass:"),
            (
                "3des",
                "-certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1 -passout pass:pw",
            ),
            ("legacy", "-legacy -passout pass:pw"),
            ("open", "-certpbe NONE -keypbe NONE -nomac -passout pass:"),
            ("costly", "-iter 2000001 -passout pass:pw"),
            ("quick", "-iter 16 -passout pass:pw"),
            (
                "quick3des",
                "-iter 16 -certpbe PBE-SHA1-3DES -keypbe PBE-SHA1-3DES -macalg sha1 -passout pass:pw",
            ),
        ] {
            made.openssl(&format!(
                "pkcs12 -export -inkey key.pem -in leaf.pem -certfile ca.pem {options} -out {name}.pfx"
            ));
        }
        made.openssl("pkcs12 -export -nokeys -in leaf.pem -passout pass:pw -out keyless.pfx");
        made.openssl("pkcs12 -in modern.pfx -passin pass:pw -nodes -out bags.pem");
        made
    }

    /// Runs `openssl` in the folder.
    pub(super) fn openssl(&self, arguments: &str) -> Vec<u8> {
        let output = Command::new("openssl")
            .args(arguments.split_whitespace())
            .current_dir(self.0.path())
            .output()
            .expect("these tests need OpenSSL 3: install it, as by `apt-get install openssl`");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "openssl {arguments}: {said}");
        output.stdout
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        Path::new(self.0.path()).join(name)
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(super) fn text(&self, name: &str) -> String {
        String::from_utf8(self.bytes(name)).unwrap()
    }
}
