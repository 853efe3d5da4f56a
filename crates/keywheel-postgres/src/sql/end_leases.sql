-- The server's clock was set back: ends the leases that it gave before. Looks at every row, as no index says
-- when a lease was given: each claim and each save would have to change it. The batch is one transaction, and it
-- has its own time, whatever statements of the role may take.
SET LOCAL statement_timeout = 0;
WITH ended AS (
    UPDATE keywheel.due
    SET holder = NULL, leased_at = NULL, lease_until = NULL, claimable_at = wake_at
    WHERE leased_at IS NOT NULL AND leased_at > keywheel.now_micros() + 1000000
    RETURNING id
)
SELECT pg_notify('keywheel_due', '') FROM ended LIMIT 1
