-- What rotations wait for most, as functions: a session then plans them once and keeps the plans. A client may
-- not keep a plan of its own, as a pooler of transactions gives it another session each time; and planning
-- took longer than running. No table is changed, so that replicas of the version before go on beside those of
-- this one.
--
-- The plans are made without the values, maybe while tables are empty, and must be right for tables of every
-- size: a row is found by an index, never by a look at all of them. `jit` would compile for longer than these
-- run. The path is fixed so that nobody else's function is called.

-- Leases what is due, the longest due first. Returns the time, and what was taken: one row with the time alone
-- when nothing was due.
--
-- The version is that of the record's row. The lock may be on a newer version of the other row; a save that
-- names the older one is then refused, and made again from the newest.
CREATE OR REPLACE FUNCTION keywheel.take_due(taker uuid, most bigint, span bigint)
    RETURNS TABLE (clock bigint, fence bigint, id uuid, version bigint, record text)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    now bigint := keywheel.now_micros();
BEGIN
    PERFORM keywheel.durably();
    RETURN QUERY
    WITH due AS MATERIALIZED (
        SELECT id FROM keywheel.due
        WHERE claimable_at <= now AND greatest(wake_at, lease_until) <= now
        ORDER BY claimable_at LIMIT most
        FOR UPDATE SKIP LOCKED
    ), taken AS (
        UPDATE keywheel.due AS queue
        SET fence = queue.fence + 1, holder = taker, leased_at = now, lease_until = now + span,
            claimable_at = keywheel.claimable_at(NULL, queue.wake_at, now + span, NULL)
        FROM due
        WHERE queue.id = due.id
        RETURNING queue.id, queue.fence
    )
    SELECT now, taken.fence, connection.id, connection.version, connection.record
    FROM taken JOIN keywheel.connection AS connection USING (id);
    IF NOT FOUND THEN
        clock := now;
        RETURN NEXT;
    END IF;
END
$$;

-- Makes many saves. Of the arrays down to `records` each save has an element: `versions` and, under a lease,
-- `fences` and `holders` are as they must be; `keeps` says whether the time to wake stays, `spans` how long the
-- lease is extended (null: released). Of the others each entry has an element: `numbers` says of which save.
-- Returns what was saved; the rest met another version or lease.
CREATE OR REPLACE FUNCTION keywheel.save(
    ids uuid[], versions bigint[], fences bigint[], holders uuid[], keeps boolean[], wake_ats bigint[],
    spans bigint[], names text[], records text[],
    numbers bigint[], seqs bigint[], bodies text[], digests bytea[]
)
    RETURNS TABLE (number bigint, version bigint, hints boolean)
    LANGUAGE plpgsql VOLATILE
    SET search_path = pg_catalog, pg_temp
    SET plan_cache_mode = force_generic_plan
    SET enable_seqscan = off SET enable_bitmapscan = off
    SET enable_hashjoin = off SET enable_mergejoin = off
    SET jit = off
AS $$
#variable_conflict use_column
DECLARE
    now bigint := keywheel.now_micros();
    is_saved boolean[] := '{}';
    is_hinted boolean := false;
BEGIN
    PERFORM keywheel.durably();
    FOR number, version, hints IN
        WITH saved AS (
            UPDATE keywheel.due AS due
            SET version = due.version + 1,
                wake_at = CASE WHEN input.keeps THEN due.wake_at ELSE input.wake_at END,
                claimable_at = keywheel.claimable_at(
                    due.claimable_at,
                    CASE WHEN input.keeps THEN due.wake_at ELSE input.wake_at END,
                    CASE WHEN input.fence IS NULL THEN due.lease_until ELSE now + input.span END,
                    now + coalesce(input.span / 2, 0)
                ),
                holder = CASE WHEN input.fence IS NULL OR input.span IS NOT NULL THEN due.holder END,
                leased_at = CASE WHEN input.fence IS NULL THEN due.leased_at
                                 WHEN input.span IS NOT NULL THEN now END,
                lease_until = CASE WHEN input.fence IS NULL THEN due.lease_until ELSE now + input.span END
            FROM unnest(ids, versions, fences, holders, keeps, wake_ats, spans, names, records)
                WITH ORDINALITY
                AS input (id, version, fence, holder, keeps, wake_at, span, name, record, number)
            WHERE due.id = input.id AND due.version = input.version
                AND (input.fence IS NULL OR (due.fence = input.fence AND due.holder = input.holder))
            RETURNING input.number, due.id, due.version, input.name, input.record,
                input.fence IS NULL AND due.claimable_at <= now AS hints
        ), written AS (
            UPDATE keywheel.connection AS connection
            SET version = saved.version, name = saved.name, record = saved.record
            FROM saved
            WHERE connection.id = saved.id
        )
        SELECT saved.number, saved.version, coalesce(saved.hints, false) FROM saved
    LOOP
        is_saved[number] := true;
        is_hinted := is_hinted OR hints;
        RETURN NEXT;
    END LOOP;
    IF cardinality(is_saved) > 0 AND cardinality(numbers) > 0 THEN
        -- Positions are given in the order of commits: one at a time, from here to the end. Everything that
        -- may have to wait for others has been done before.
        PERFORM pg_advisory_xact_lock(1802987628, 'keywheel.journal'::regclass::oid::int);
        INSERT INTO keywheel.journal (connection, seq, body, digest)
        SELECT ids[entry.number], entry.seq, entry.body, entry.digest
        FROM unnest(numbers, seqs, bodies, digests) AS entry (number, seq, body, digest)
        WHERE is_saved[entry.number]
        ORDER BY entry.number, entry.seq;
    END IF;
    IF is_hinted THEN
        PERFORM pg_notify('keywheel_due', '');
    END IF;
END
$$;
