-- As in `end_leases`, but looks only at what is to be claimed next, and waits for nobody.
DO $$
BEGIN
    -- A table of which the server knows nothing yet would be read as a whole.
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_bitmapscan = off;
    SET LOCAL jit = off;
    WITH next AS MATERIALIZED (
        SELECT id, leased_at FROM keywheel.due
        WHERE claimable_at > (SELECT keywheel.now_micros()) ORDER BY claimable_at LIMIT 1000
    ), found AS MATERIALIZED (
        SELECT id FROM keywheel.due
        WHERE id = ANY (ARRAY(SELECT id FROM next WHERE leased_at > keywheel.now_micros() + 1000000))
            AND leased_at > keywheel.now_micros() + 1000000
        FOR UPDATE SKIP LOCKED
    )
    UPDATE keywheel.due AS queue
    SET holder = NULL, leased_at = NULL, lease_until = NULL, claimable_at = queue.wake_at
    FROM found
    WHERE queue.id = found.id;
END
$$
