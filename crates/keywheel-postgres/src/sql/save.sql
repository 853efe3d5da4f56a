-- Arrays, an element for each save: $1 id, $2 expected version, $3 fence and $4 holder of the lease, $5
-- whether the time to wake is kept, $6 wake_at, $7 how long the lease is extended (null: released), $8 name,
-- $9 record. An element for each entry: $10 number of the save, $11 seq, $12 body, $13 digest.
WITH clock AS MATERIALIZED (
    SELECT keywheel.now_micros() AS now, keywheel.durably()
), input AS MATERIALIZED (
    SELECT *
    FROM unnest(
        $1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::boolean[], $6::bigint[], $7::bigint[],
        $8::text[], $9::text[]
    ) WITH ORDINALITY
    AS input (id, expected, fence, holder, keeps, wake_at, span, name, record, number)
), saved AS (
    UPDATE keywheel.due AS due
    SET version = due.version + 1,
        wake_at = CASE WHEN input.keeps THEN due.wake_at ELSE input.wake_at END,
        claimable_at = keywheel.claimable_at(
            due.claimable_at,
            CASE WHEN input.keeps THEN due.wake_at ELSE input.wake_at END,
            CASE WHEN input.fence IS NULL THEN due.lease_until ELSE clock.now + input.span END,
            clock.now + coalesce(input.span / 2, 0)
        ),
        holder = CASE WHEN input.fence IS NULL OR input.span IS NOT NULL THEN due.holder END,
        leased_at = CASE WHEN input.fence IS NULL THEN due.leased_at
                         WHEN input.span IS NOT NULL THEN clock.now END,
        lease_until = CASE WHEN input.fence IS NULL THEN due.lease_until ELSE clock.now + input.span END
    FROM input, clock
    WHERE due.id = input.id AND due.version = input.expected
        AND (input.fence IS NULL OR (due.fence = input.fence AND due.holder = input.holder))
    RETURNING input.number, due.id, due.version,
        input.fence IS NULL AND due.claimable_at <= clock.now AS hints
), written AS (
    UPDATE keywheel.connection AS connection
    SET version = saved.version, name = input.name, record = input.record
    FROM saved JOIN input USING (number)
    WHERE connection.id = saved.id
    RETURNING connection.id
), ordered AS MATERIALIZED (
    -- As in `create`.
    SELECT pg_advisory_xact_lock(1802987628, 'keywheel.journal'::regclass::oid::int)
    FROM (SELECT count(*) AS count FROM written) AS written WHERE count > 0 AND cardinality($10) > 0
), appended AS (
    INSERT INTO keywheel.journal (connection, seq, body, digest)
    SELECT saved.id, entry.seq, entry.body, entry.digest
    FROM ordered
        CROSS JOIN unnest($10::bigint[], $11::bigint[], $12::text[], $13::bytea[])
            AS entry (number, seq, body, digest)
        JOIN saved USING (number)
    ORDER BY entry.number, entry.seq
), hinted AS (
    SELECT pg_notify('keywheel_due', '') FROM saved WHERE hints LIMIT 1
)
SELECT number, version, (SELECT count(*) FROM hinted) AS hints FROM saved
