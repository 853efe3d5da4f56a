-- The events that a consumer never took, by their place in the outbox. Times are microseconds since 1970.
CREATE TABLE dead_letter (
    consumer TEXT NOT NULL,
    position INTEGER NOT NULL,
    connection BLOB NOT NULL,
    seq INTEGER NOT NULL,
    given_up_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (consumer, position)
) STRICT, WITHOUT ROWID;
