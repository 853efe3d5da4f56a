-- $1 consumer, $2 holder, $3 span
--
-- The row may have to be waited for, and by then another one leads: the time is asked for once more. A lead from
-- the future is one from before the clock was set back.
WITH clock AS MATERIALIZED (
    SELECT keywheel.now_micros() AS now, keywheel.durably()
)
INSERT INTO keywheel.consumer AS noted (name, position, leader, led_at, led_until)
SELECT $1, 0, $2, clock.now, clock.now + $3 FROM clock
ON CONFLICT (name) DO UPDATE
SET leader = excluded.leader, led_at = keywheel.now_micros(), led_until = keywheel.now_micros() + $3
WHERE noted.leader IS NULL OR noted.leader = excluded.leader
    OR keywheel.now_micros() NOT BETWEEN noted.led_at - 1000000 AND noted.led_until - 1
RETURNING noted.name
