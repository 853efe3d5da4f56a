-- $1 id, $2 expected version, $3 fence, $4 holder, $5 namespace, $6 name, $7 last seq, $8 last digest; the
-- entries: $9 seq, $10 body, $11 digest
WITH clock AS MATERIALIZED (
    SELECT keywheel.durably()
), ended AS (
    DELETE FROM keywheel.due
    USING clock
    WHERE id = $1 AND version = $2 AND ($3::bigint IS NULL OR (fence = $3 AND holder = $4))
    RETURNING id, version
), gone AS (
    DELETE FROM keywheel.connection USING ended WHERE connection.id = ended.id
    RETURNING ended.id, ended.version
), buried AS (
    INSERT INTO keywheel.tombstone (id, namespace, name, version, seq, digest)
    SELECT id, $5, $6, version + 1, $7, $8 FROM gone
    RETURNING version
), ordered AS MATERIALIZED (
    -- As in `create`.
    SELECT pg_advisory_xact_lock(1802987628, 'keywheel.journal'::regclass::oid::int)
    FROM (SELECT count(*) AS count FROM buried) AS buried WHERE count > 0
), appended AS (
    INSERT INTO keywheel.journal (connection, seq, body, digest)
    SELECT $1, entry.seq, entry.body, entry.digest
    FROM ordered, unnest($9::bigint[], $10::text[], $11::bytea[]) AS entry (seq, body, digest)
    ORDER BY entry.seq
)
SELECT version FROM buried
