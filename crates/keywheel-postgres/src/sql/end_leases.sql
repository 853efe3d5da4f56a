-- The server's clock was set back: ends the leases that it gave before.
UPDATE keywheel.due
SET holder = NULL, leased_at = NULL, lease_until = NULL, claimable_at = wake_at
WHERE leased_at > keywheel.now_micros() + 1000000
