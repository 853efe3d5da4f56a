-- What is big and read by id. A record is rewritten by each save and stays under the page size, so it is
-- kept in the row and not compressed, and half of each page is left free for the next versions: a save then
-- touches no index (a HOT update) and vacuum has nothing to do here.
CREATE TABLE keywheel.connection (
    id uuid PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    record text NOT NULL,
    UNIQUE (namespace, name)
) WITH (fillfactor = 50, toast_tuple_target = 8160);
ALTER TABLE keywheel.connection ALTER COLUMN record SET STORAGE EXTERNAL;

-- What claims read and write: narrow, some forty rows to a page. The row that is locked and compared, so
-- it has the version too. Times are microseconds since 1970, by the server's clock.
--
-- Only a claim and a release change `claimable_at`; the saves between them change no index. Vacuum comes
-- after so many claims, however big the table is, and does not pause.
CREATE TABLE keywheel.due (
    id uuid PRIMARY KEY,
    version bigint NOT NULL,
    fence bigint NOT NULL,
    wake_at bigint,
    -- Not to be claimed before: the later of `wake_at` and the end of the lease, or up to half a lease
    -- earlier.
    claimable_at bigint,
    holder uuid,
    leased_at bigint,
    lease_until bigint
) WITH (
    fillfactor = 70,
    autovacuum_vacuum_scale_factor = 0,
    autovacuum_vacuum_threshold = 20000,
    autovacuum_vacuum_cost_delay = 0
);
CREATE INDEX due_claimable ON keywheel.due (claimable_at) WHERE claimable_at IS NOT NULL;

-- The audit log, and by `position` the outbox. Only ever appended to.
CREATE TABLE keywheel.journal (
    position bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    connection uuid NOT NULL,
    seq bigint NOT NULL,
    body text NOT NULL,
    digest bytea NOT NULL,
    UNIQUE (connection, seq)
);

CREATE TABLE keywheel.tombstone (
    id uuid PRIMARY KEY,
    namespace text COLLATE "C" NOT NULL,
    name text COLLATE "C" NOT NULL,
    version bigint NOT NULL,
    seq bigint NOT NULL,
    digest bytea NOT NULL
);

CREATE TABLE keywheel.consumer (
    name text COLLATE "C" PRIMARY KEY,
    position bigint NOT NULL
);

-- The one clock of all replicas.
CREATE FUNCTION keywheel.now_micros() RETURNS bigint LANGUAGE sql VOLATILE AS
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint';

-- Acknowledged means durable, whatever the user's or the server's default; a stronger one is left alone.
CREATE FUNCTION keywheel.durably() RETURNS text LANGUAGE sql VOLATILE AS
    'SELECT CASE WHEN current_setting(''synchronous_commit'') IN (''off'', ''local'')
            THEN set_config(''synchronous_commit'', ''on'', true) END';

-- Since when a connection can be claimed. What it was before stays while it is no earlier than `soonest`
-- and no later than the end of the lease, so that the row's index entry stays too.
CREATE FUNCTION keywheel.claimable_at(before bigint, wake_at bigint, lease_until bigint, soonest bigint)
    RETURNS bigint LANGUAGE sql IMMUTABLE AS
    'SELECT CASE
        WHEN wake_at IS NULL OR lease_until IS NULL THEN wake_at
        WHEN wake_at > lease_until THEN wake_at
        WHEN before BETWEEN soonest AND lease_until THEN before
        ELSE lease_until END';
