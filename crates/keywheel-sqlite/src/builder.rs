use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use keywheel_connection::StoreError;
use keywheel_core::{Clock, SystemClock};

use crate::SqliteStore;
use crate::writer::Opening;

/// Opens a [`SqliteStore`].
#[must_use]
pub struct SqliteStoreBuilder {
    opening: Opening,
}

impl SqliteStoreBuilder {
    pub(crate) fn new(path: PathBuf) -> Self {
        let opening = Opening {
            path,
            clock: Arc::new(SystemClock::new()),
            busy_timeout: Duration::from_secs(5),
        };
        Self { opening }
    }

    /// Sets the clock that leases run by. Default: the system's. All processes that share the file must
    /// agree on it.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.opening.clock = Arc::new(clock);
        self
    }

    /// Sets how long a write waits for another process that writes. Default: 5 seconds, longer than any
    /// commit of this crate takes on a healthy disk.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.opening.busy_timeout = timeout;
        self
    }

    /// Opens the file, or creates it with mode 0600, and brings its schema up to date.
    ///
    /// # Errors
    ///
    /// [`NotOurs`](keywheel_connection::StoreErrorKind::NotOurs) when the file is not one of ours or is of
    /// a newer version (nothing was written to it then), or when its directory does not exist;
    /// [`Unavailable`](keywheel_connection::StoreErrorKind::Unavailable) when the disk or the permissions
    /// do not let it be opened now.
    pub async fn open(self) -> Result<SqliteStore, StoreError> {
        SqliteStore::open(self.opening).await
    }
}

impl fmt::Debug for SqliteStoreBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteStoreBuilder")
            .field("path", &self.opening.path)
            .finish_non_exhaustive()
    }
}
