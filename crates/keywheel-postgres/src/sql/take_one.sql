-- $1 holder, $2 id, $3 span. A lease from the future is one from before the clock was set back.
WITH clock AS MATERIALIZED (
    SELECT keywheel.now_micros() AS now, keywheel.durably()
), taken AS (
    UPDATE keywheel.due AS queue
    SET fence = queue.fence + 1, holder = $1, leased_at = clock.now, lease_until = clock.now + $3,
        claimable_at = keywheel.claimable_at(NULL, queue.wake_at, clock.now + $3, NULL)
    FROM clock
    WHERE queue.id = $2
        AND (queue.lease_until IS NULL OR queue.lease_until <= clock.now
            OR queue.leased_at > clock.now + 1000000)
    RETURNING queue.id, queue.fence
)
SELECT clock.now, taken.fence, connection.id, connection.version, connection.record
FROM clock CROSS JOIN taken JOIN keywheel.connection AS connection USING (id)
