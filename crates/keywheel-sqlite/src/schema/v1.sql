-- What is big and read by id. Its name index serves pages too.
CREATE TABLE connection (
    row INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    record TEXT NOT NULL,
    UNIQUE (namespace, name)
) STRICT;

-- What claims read and write: narrow, so that some sixty rows share a page. Times are microseconds since
-- 1970.
CREATE TABLE due (
    row INTEGER PRIMARY KEY,
    fence INTEGER NOT NULL,
    wake_at INTEGER,
    -- The later of `wake_at` and `lease_until`: since when it can be claimed.
    claimable_at INTEGER,
    holder BLOB,
    leased_at INTEGER,
    lease_until INTEGER
) STRICT;
CREATE INDEX due_claimable ON due (claimable_at) WHERE claimable_at IS NOT NULL;
-- The leases that are out, a few: whether one was given in the future is looked up when the file is opened.
CREATE INDEX due_leased ON due (leased_at) WHERE leased_at IS NOT NULL;

-- The audit log, and by `position` the outbox.
CREATE TABLE journal (
    position INTEGER PRIMARY KEY,
    connection BLOB NOT NULL,
    seq INTEGER NOT NULL,
    body TEXT NOT NULL,
    digest BLOB NOT NULL,
    UNIQUE (connection, seq)
) STRICT;

CREATE TABLE tombstone (
    id BLOB PRIMARY KEY,
    namespace TEXT NOT NULL,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    digest BLOB NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE consumer (
    name TEXT PRIMARY KEY,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
