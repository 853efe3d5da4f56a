use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use keywheel_connection::{ConnectionName, Namespace, NewSecret, SecretSink, SinkError};
use serde::Serialize;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

/// Writes each new secret into a file, for processes that read it from there.
///
/// The file is replaced whole: it is written beside its place, made durable and renamed, so that a reader
/// finds the old or the new secret and never a part. Only its owner may read it (mode 0600; on other
/// systems than Unix, what the folder grants).
#[derive(Debug)]
pub struct FileSink {
    name: String,
    place: Place,
    json: bool,
}

#[derive(Debug)]
enum Place {
    File {
        namespace: Namespace,
        connection: ConnectionName,
        path: PathBuf,
    },
    Folder(PathBuf),
}

impl FileSink {
    /// Returns a sink that writes the secret of one connection to `path`. Other connections' it leaves
    /// alone.
    #[must_use]
    pub fn of(namespace: Namespace, connection: ConnectionName, path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self {
            name: format!("file:{}", path.display()),
            place: Place::File {
                namespace,
                connection,
                path,
            },
            json: false,
        }
    }

    /// Returns a sink that writes every connection's secret to `folder/namespace/name`.
    #[must_use]
    pub fn in_folder(folder: impl Into<PathBuf>) -> Self {
        let folder = folder.into();
        Self {
            name: format!("folder:{}", folder.display()),
            place: Place::Folder(folder),
            json: false,
        }
    }

    /// Writes a JSON object with `tenant_id`, `client_id`, `client_secret`, `key_id`, `generation` and
    /// `end`. By default the file holds the secret and nothing else, no line end either.
    #[must_use]
    pub fn as_json(mut self) -> Self {
        self.json = true;
        self
    }

    fn path(&self, new: &NewSecret<'_>) -> Option<PathBuf> {
        let (namespace, name) = (&new.connection.namespace, &new.connection.name);
        match &self.place {
            Place::File {
                namespace: of,
                connection,
                path,
            } => (of == namespace && connection == name).then(|| path.clone()),
            Place::Folder(folder) => Some(
                folder
                    .join(apart(namespace.as_str()))
                    .join(apart(name.as_str())),
            ),
        }
    }

    fn content(&self, new: &NewSecret<'_>) -> Zeroizing<Vec<u8>> {
        if !self.json {
            return Zeroizing::new(new.secret.expose().as_bytes().to_vec());
        }
        #[derive(Serialize)]
        struct Json<'a> {
            tenant_id: String,
            client_id: String,
            client_secret: &'a str,
            key_id: Option<String>,
            generation: u64,
            end: Option<String>,
        }
        let json = Json {
            tenant_id: new.connection.tenant.to_string(),
            client_id: new.connection.client.to_string(),
            client_secret: new.secret.expose(),
            key_id: new.key_id.map(|id| id.to_string()),
            generation: new.generation,
            end: new.end.map(|end| end.to_rfc3339()),
        };
        // Large enough that it never grows, which would leave a copy behind.
        let mut content = Zeroizing::new(Vec::with_capacity(4096));
        let written = serde_json::to_writer_pretty(&mut *content, &json);
        written.expect("text and numbers become JSON");
        content
    }
}

/// Names may be `.` or `..`, which are no names of files.
fn apart(name: &str) -> String {
    if name.starts_with('.') {
        format!("_{name}")
    } else {
        name.to_owned()
    }
}

#[async_trait]
impl SecretSink for FileSink {
    fn name(&self) -> &str {
        &self.name
    }

    async fn publish(&self, new: &NewSecret<'_>) -> Result<(), SinkError> {
        let Some(path) = self.path(new) else {
            return Ok(());
        };
        let content = self.content(new);
        let creates = matches!(self.place, Place::Folder(_));
        let target = path.clone();
        let written = spawn_blocking(move || replace(&target, &content, creates)).await;
        let written = written.unwrap_or_else(|_| Err(io::Error::other("the write did not end")));
        written.map_err(|error| {
            let message = format!(
                "{} can't be written; look at the folder, its owner and the space left",
                path.display()
            );
            SinkError::new(message).with_source(error)
        })
    }
}

/// Puts a file with `content` in the place of `path`, whole or not at all.
fn replace(path: &Path, content: &[u8], creates: bool) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if creates {
        private_folder(folder)?;
    }
    let mut draft = path.as_os_str().to_owned();
    draft.push(".keywheel-new");
    // One that a crash left.
    match fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = write_new(Path::new(&draft), content).and_then(|()| fs::rename(&draft, path));
    if written.is_err() {
        drop(fs::remove_file(&draft));
    }
    written?;
    // The new name must be as durable as the content.
    File::open(folder)?.sync_all()
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

fn private_folder(folder: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder)
}
