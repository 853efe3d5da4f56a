use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use keywheel_emulator::{Emulator, KeyMaterial};

use crate::Failure;
use crate::options::read;

/// The folder with what clients need.
#[derive(Debug)]
pub(crate) struct Files {
    dir: PathBuf,
}

impl Files {
    /// Makes the folder, for its owner's eyes only.
    pub(crate) fn at(dir: &Path) -> Result<Self, Failure> {
        fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let _ = fs::set_permissions(dir, fs::Permissions::from_mode(0o700));
        }
        Ok(Self {
            dir: dir.canonicalize()?,
        })
    }

    /// Returns the keys that an earlier start left.
    pub(crate) fn key_material(&self) -> Result<Option<KeyMaterial>, Failure> {
        let path = self.dir.join("keys.pem");
        if !path.exists() {
            return Ok(None);
        }
        Ok(Some(KeyMaterial::from_pem(&read(&path)?)?))
    }

    pub(crate) fn write(&self, emulator: &Emulator) -> Result<(), Failure> {
        self.put(".gitignore", "*\n")?;
        self.put("ca.pem", emulator.ca_pem())?;
        self.put("keys.pem", emulator.key_material().to_pem().expose())?;
        let app = emulator.default_app();
        if let (Some(certificate), Some(key)) = (app.certificate_pem(), app.private_key_pem()) {
            self.put("client.pem", &format!("{certificate}{}", key.expose()))?;
        }
        self.put("env.sh", &self.environment(emulator))
    }

    pub(crate) fn usage(&self, emulator: &Emulator) -> String {
        let dir = self.dir.display();
        format!(
            "  environment of an Azure client:  . {dir}/env.sh\n\
             \x20 certificate to trust:            {dir}/ca.pem\n\
             \x20 certificate to sign in with:     {dir}/client.pem\n\
             \x20 clock, behaviours, faults, log:  {}/_emulator/\n\
             \x20 stop:                            Ctrl-C",
            emulator.authority()
        )
    }

    fn environment(&self, emulator: &Emulator) -> String {
        let app = emulator.default_app();
        let dir = self.dir.display();
        let (certificate, ca) = (format!("{dir}/client.pem"), format!("{dir}/ca.pem"));
        let pairs = [
            ("AZURE_TENANT_ID", app.tenant_id()),
            ("AZURE_CLIENT_ID", app.client_id()),
            ("AZURE_CLIENT_SECRET", app.secret().expose()),
            ("AZURE_AUTHORITY_HOST", emulator.authority()),
            ("KEYWHEEL_GRAPH_ENDPOINT", emulator.graph()),
            ("KEYWHEEL_CA_CERTIFICATE", &ca),
            ("KEYWHEEL_CLIENT_SECRET_KEY_ID", app.secret_key_id()),
        ];
        let exports: String = pairs
            .iter()
            .map(|(name, value)| export(name, value))
            .collect();
        format!(
            "# Written by keywheel-emulator. Use it with: . {dir}/env.sh\n{exports}\
             # Instead of the secret, the certificate:\n# {}\
             # For other clients, the certificate to trust:\n# {}# {}",
            export("AZURE_CLIENT_CERTIFICATE_PATH", &certificate),
            export("REQUESTS_CA_BUNDLE", &ca),
            export("NODE_EXTRA_CA_CERTS", &ca),
        )
    }

    /// Writes a file that only its owner can read.
    fn put(&self, name: &str, text: &str) -> Result<(), Failure> {
        let path = self.dir.join(name);
        let mut options = fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let written = options
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()));
        written.map_err(|error| format!("{}: {error}", path.display()).into())
    }
}

/// Writes an assignment; the value is quoted for the shell.
fn export(name: &str, value: &str) -> String {
    format!("export {name}='{}'\n", value.replace('\'', r"'\''"))
}
