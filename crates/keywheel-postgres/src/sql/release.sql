-- $1 id, $2 fence, $3 holder
WITH clock AS MATERIALIZED (
    SELECT keywheel.now_micros() AS now, keywheel.durably()
), released AS (
    UPDATE keywheel.due AS queue
    SET holder = NULL, leased_at = NULL, lease_until = NULL, claimable_at = queue.wake_at
    FROM clock
    WHERE queue.id = $1 AND queue.fence = $2 AND queue.holder = $3
    RETURNING queue.wake_at <= clock.now AS hints
)
SELECT pg_notify('keywheel_due', '') FROM released WHERE hints
