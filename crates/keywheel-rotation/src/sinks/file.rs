mod replacement;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use keywheel_connection::{
    Connection, ConnectionName, Namespace, NewSecret, SecretSink, SinkError,
};
use serde::Serialize;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use zeroize::Zeroizing;

use self::replacement::{Attempt, Mark, Replacement};

/// Writes each new secret into a file, for processes that read it from there.
///
/// The file is replaced whole: it is written beside its place, made durable and renamed, so that a reader
/// finds the old or the new secret and never a part. Only its owner may read it (mode 0600; on other
/// systems than Unix, what the folder grants).
///
/// It is never replaced by what comes late, as from a process that was suspended while others went on:
/// beside a file `NAME`, `.NAME.keywheel-order` holds the connection's id and the
/// [order](NewSecret::order) of what is in it. What is older is an error. It is one too after the store was
/// restored from a backup, whose orders begin further back; its message says what to remove then.
/// Processes that write the same file wait for each other, by a lock on `.NAME.keywheel-order`; so its file
/// system must have locks.
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
    /// Returns a sink that writes the secret of one connection to `path`, in a folder that exists. It
    /// [wants](SecretSink::wants) no other one's.
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

    /// Returns a sink that writes every connection's secret to `folder/namespace/name`. It makes the folders
    /// that do not exist, for their owner only.
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

    fn path(&self, connection: &Connection) -> Option<PathBuf> {
        let (namespace, name) = (&connection.namespace, &connection.name);
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

    fn wants(&self, connection: &Connection) -> bool {
        self.path(connection).is_some()
    }

    async fn publish(&self, new: &NewSecret<'_>) -> Result<(), SinkError> {
        let Some(path) = self.path(new.connection) else {
            return Ok(());
        };
        let replacement = Arc::new(Replacement {
            path,
            content: self.content(new),
            mark: Mark {
                connection: new.connection.id,
                order: new.order(),
            },
            makes_folder: matches!(self.place, Place::Folder(_)),
        });
        for _ in 0..TRIES {
            let attempt = Arc::clone(&replacement);
            let attempt = spawn_blocking(move || attempt.attempt()).await;
            let attempt =
                attempt.unwrap_or_else(|_| Err(io::Error::other("the write did not end")));
            match attempt.map_err(|error| unwritable(&replacement, error))? {
                Attempt::Replaced => return Ok(()),
                Attempt::Overtaken(held) => return Err(overtaken(&replacement, held)),
                Attempt::Locked => sleep(PAUSE).await,
            }
        }
        Err(locked(&replacement))
    }
}

/// How long a file that somebody else is writing is waited for. Not by a thread that waits for the lock: it
/// would keep the process from ending for as long as another one is suspended.
const TRIES: u32 = 100;
const PAUSE: Duration = Duration::from_millis(100);

fn unwritable(file: &Replacement, error: io::Error) -> SinkError {
    let message = format!(
        "{} can't be written; look at the folder, its owner and the space left",
        file.path.display()
    );
    SinkError::new(message).with_source(error)
}

fn locked(file: &Replacement) -> SinkError {
    SinkError::new(format!(
        "{} was being written by another process for {} seconds; look which one holds {}",
        file.path.display(),
        (PAUSE * TRIES).as_secs(),
        order_file(file),
    ))
}

fn overtaken(file: &Replacement, held: Mark) -> SinkError {
    SinkError::new(format!(
        "{} has the secret of a later state of the connection (order {}, and this is {}): another process \
         went on meanwhile, and all is well; or the store was restored from a backup: then remove {}",
        file.path.display(),
        held.order,
        file.mark.order,
        order_file(file),
    ))
}

fn order_file(file: &Replacement) -> String {
    let path = file.order_path();
    path.map_or_else(|_| String::new(), |path| path.display().to_string())
}
