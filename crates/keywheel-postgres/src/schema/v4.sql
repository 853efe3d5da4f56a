-- Saves as before, for less of the server's time. Arrays are read by position where they lie: a row made of
-- them would carry the records, by far the most of what is sent, through four more copies. One row is
-- returned, however many were saved.
--
-- `save` stays for replicas of the version before, which go on beside those of this one.

-- Makes many saves. Of the arrays down to `records` each save has an element: `versions` and, under a lease,
-- `fences` and `holders` are as they must be; `keeps` says whether the time to wake stays, `spans` how long the
-- lease is extended (null: released). Of the others each entry has an element, in the order of the saves and
-- of the sequence numbers: `numbers` says of which save. Returns the numbers of those that were saved; the rest
-- met another version or lease.
CREATE PROCEDURE keywheel.save_all(
    ids uuid[], versions bigint[], fences bigint[], holders uuid[], keeps boolean[], wake_ats bigint[],
    spans bigint[], names text[], records text[],
    numbers bigint[], seqs bigint[], bodies text[], digests bytea[],
    INOUT saved bigint[], INOUT hints boolean
)
    LANGUAGE plpgsql
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
    WITH locked AS (
        UPDATE keywheel.due AS due
        SET version = due.version + 1,
            wake_at = CASE WHEN keeps[n] THEN due.wake_at ELSE wake_ats[n] END,
            claimable_at = keywheel.claimable_at(
                due.claimable_at,
                CASE WHEN keeps[n] THEN due.wake_at ELSE wake_ats[n] END,
                CASE WHEN fences[n] IS NULL THEN due.lease_until ELSE now + spans[n] END,
                now + coalesce(spans[n] / 2, 0)
            ),
            holder = CASE WHEN fences[n] IS NULL OR spans[n] IS NOT NULL THEN due.holder END,
            leased_at = CASE WHEN fences[n] IS NULL THEN due.leased_at WHEN spans[n] IS NOT NULL THEN now END,
            lease_until = CASE WHEN fences[n] IS NULL THEN due.lease_until ELSE now + spans[n] END
        FROM generate_series(1, cardinality(ids)) AS n
        WHERE due.id = ids[n] AND due.version = versions[n]
            AND (fences[n] IS NULL OR (due.fence = fences[n] AND due.holder = holders[n]))
        RETURNING n, due.id, due.version, fences[n] IS NULL AND due.claimable_at <= now AS is_due
    ), written AS (
        UPDATE keywheel.connection AS connection
        SET version = locked.version, name = names[locked.n], record = records[locked.n]
        FROM locked
        WHERE connection.id = locked.id
    )
    SELECT array_agg(n), bool_or(is_due) INTO saved, hints FROM locked;
    IF cardinality(saved) > 0 AND cardinality(numbers) > 0 THEN
        -- Positions are given in the order of commits: one at a time, from here to the end. Everything that
        -- may have to wait for others has been done before.
        PERFORM pg_advisory_xact_lock(1802987628, 'keywheel.journal'::regclass::oid::int);
        INSERT INTO keywheel.journal (connection, seq, body, digest)
        SELECT ids[numbers[n]], seqs[n], bodies[n], digests[n]
        FROM generate_series(1, cardinality(numbers)) AS n
        -- The search is for the few times when not all were saved.
        WHERE cardinality(saved) = cardinality(ids) OR numbers[n] = ANY (saved);
    END IF;
    IF hints THEN
        PERFORM pg_notify('keywheel_due', '');
    END IF;
END
$$;
