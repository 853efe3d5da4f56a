-- $1 holder, $2 id, $3 span. A lease from the future is one from before the clock was set back.
--
-- The row may have to be waited for, and by then its lease was given or extended: the time is asked for once
-- more with the row at hand, and not before.
WITH clock AS MATERIALIZED (
    SELECT keywheel.durably()
), taken AS (
    UPDATE keywheel.due AS queue
    SET fence = queue.fence + 1, holder = $1,
        leased_at = keywheel.now_micros(), lease_until = keywheel.now_micros() + $3,
        claimable_at = keywheel.claimable_at(NULL, queue.wake_at, keywheel.now_micros() + $3, NULL)
    FROM clock
    WHERE queue.id = $2
        AND (queue.lease_until IS NULL OR queue.lease_until <= keywheel.now_micros()
            OR queue.leased_at > keywheel.now_micros() + 1000000)
    RETURNING queue.id, queue.fence
)
SELECT keywheel.now_micros(), taken.fence, connection.id, connection.version, connection.record
FROM taken JOIN keywheel.connection AS connection USING (id)
