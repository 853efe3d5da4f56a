-- $1 holder, $2 limit, $3 span
--
-- The version is that of the record's row. The lock may be on a newer version of the other row; a save that
-- names the older one is then refused, and made again from the newest.
--
-- Nearly all that the index gives is due. To the planner `<> 0` is nearly always so, and `<=` rarely: it then
-- looked through the whole of a small table rather than into the index.
WITH clock AS MATERIALIZED (
    SELECT keywheel.now_micros() AS now, keywheel.durably()
), due AS MATERIALIZED (
    SELECT id FROM keywheel.due
    WHERE claimable_at <= (SELECT now FROM clock)
        AND (greatest(wake_at, lease_until) <= (SELECT now FROM clock))::int <> 0
    ORDER BY claimable_at LIMIT $2
    FOR UPDATE SKIP LOCKED
), taken AS (
    UPDATE keywheel.due AS queue
    SET fence = queue.fence + 1, holder = $1, leased_at = clock.now, lease_until = clock.now + $3,
        claimable_at = keywheel.claimable_at(NULL, queue.wake_at, clock.now + $3, NULL)
    FROM due, clock
    WHERE queue.id = due.id
    RETURNING queue.id, queue.fence
)
SELECT clock.now, taken.fence, connection.id, connection.version, connection.record
FROM clock LEFT JOIN (taken JOIN keywheel.connection AS connection USING (id)) ON true
