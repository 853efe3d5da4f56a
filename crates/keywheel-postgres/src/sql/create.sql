-- $1 id, $2 namespace, $3 name, $4 record, $5 wake_at; the entries: $6 seq, $7 body, $8 digest
WITH clock AS MATERIALIZED (
    SELECT keywheel.now_micros() AS now, keywheel.durably()
), stored AS (
    INSERT INTO keywheel.connection (id, namespace, name, version, record)
    SELECT $1, $2, $3, 1, $4 WHERE NOT EXISTS (SELECT FROM keywheel.tombstone WHERE id = $1)
    ON CONFLICT DO NOTHING
    RETURNING id
), queued AS (
    INSERT INTO keywheel.due (id, version, fence, wake_at, claimable_at)
    SELECT id, 1, 0, $5, $5 FROM stored
    RETURNING claimable_at
), ordered AS MATERIALIZED (
    -- Positions are given in the order of commits: one at a time, from here to the end. Everything that may
    -- have to wait for others has been done before.
    SELECT pg_advisory_xact_lock(1802987628, 'keywheel.journal'::regclass::oid::int)
    FROM (SELECT count(*) AS count FROM queued) AS queued WHERE count > 0
), appended AS (
    INSERT INTO keywheel.journal (connection, seq, body, digest)
    SELECT $1, entry.seq, entry.body, entry.digest
    FROM ordered, unnest($6::bigint[], $7::text[], $8::bytea[]) AS entry (seq, body, digest)
    ORDER BY entry.seq
), hinted AS (
    SELECT pg_notify('keywheel_due', '') FROM queued, clock WHERE queued.claimable_at <= clock.now
)
SELECT (SELECT count(*) FROM stored) AS stored, (SELECT count(*) FROM hinted) AS hints
