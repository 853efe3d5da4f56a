use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write as _};
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::behaviour::Behaviours;
use crate::clock::Hand;
use crate::directory::Directory;
use crate::fault::Faults;
use crate::identity::Grants;
use crate::material::KeyMaterial;
use crate::random::Draws;
use crate::world::{Throttles, World};

/// Everything an emulator holds but its log: directory, secrets, sign-ins, behaviours, faults, clock, keys.
///
/// It contains every secret in plain text, as it must to accept them again.
#[derive(Clone, Serialize, Deserialize)]
pub struct Snapshot {
    version: u32,
    pub(crate) clock: Hand,
    pub(crate) keys: KeyMaterial,
    directory: Directory,
    behaviours: Behaviours,
    draws: Draws,
    faults: Faults,
    grants: Grants,
    issuers: BTreeMap<String, Value>,
    throttles: Throttles,
    default_app: Option<(Uuid, Uuid)>,
}

impl Snapshot {
    pub(crate) fn of(world: &World, clock: Hand, keys: KeyMaterial) -> Self {
        Self {
            version: VERSION,
            clock,
            keys,
            directory: world.directory.clone(),
            behaviours: world.behaviours.clone(),
            draws: world.draws.clone(),
            faults: world.faults.clone(),
            grants: world.grants.clone(),
            issuers: world.issuers.clone(),
            throttles: world.throttles.clone(),
            default_app: world.default_app,
        }
    }

    /// Puts what was kept in the place of what is there. The log goes on.
    pub(crate) fn fill(self, world: &mut World) {
        world.directory = self.directory;
        world.behaviours = self.behaviours;
        world.draws = self.draws;
        world.faults = self.faults;
        world.grants = self.grants;
        world.issuers = self.issuers;
        world.throttles = self.throttles;
        world.default_app = self.default_app;
    }

    /// Reads a snapshot from JSON.
    ///
    /// # Errors
    ///
    /// When the text is no snapshot, or one of another version.
    pub fn from_json(text: &str) -> Result<Self, InvalidSnapshot> {
        let snapshot: Self =
            serde_json::from_str(text).map_err(|error| InvalidSnapshot(error.to_string()))?;
        if snapshot.version == VERSION {
            return Ok(snapshot);
        }
        Err(InvalidSnapshot(format!(
            "version {} is not {VERSION}: take the emulator that wrote it",
            snapshot.version
        )))
    }

    /// Writes the snapshot as JSON, secrets included.
    #[must_use]
    #[expect(clippy::missing_panics_doc, reason = "it can't")]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a snapshot has text keys")
    }

    /// Writes the snapshot to a file that only its owner can read. The file is replaced in one step.
    ///
    /// # Errors
    ///
    /// When the file can't be written.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        write_private(path, self.to_json().as_bytes())
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot").finish_non_exhaustive()
    }
}

/// Writes a file of mode 0600 and puts it in its place.
fn write_private(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(beside, path)
}

/// A text that is no snapshot.
#[derive(Clone, Debug, thiserror::Error)]
#[error("snapshot: {0}")]
pub struct InvalidSnapshot(String);

const VERSION: u32 = 1;
