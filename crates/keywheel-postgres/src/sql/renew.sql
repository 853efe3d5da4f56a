-- $1 id, $2 fence, $3 holder, $4 span
WITH clock AS MATERIALIZED (
    SELECT keywheel.now_micros() AS now, keywheel.durably()
)
UPDATE keywheel.due AS queue
SET leased_at = clock.now, lease_until = clock.now + $4,
    claimable_at = keywheel.claimable_at(
        queue.claimable_at, queue.wake_at, clock.now + $4, clock.now + $4 / 2
    )
FROM clock
WHERE queue.id = $1 AND queue.fence = $2 AND queue.holder = $3
RETURNING queue.id
