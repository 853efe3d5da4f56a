-- $1 consumer, $2 holder, $3 span
WITH clock AS MATERIALIZED (
    SELECT keywheel.now_micros() AS now, keywheel.durably()
)
INSERT INTO keywheel.consumer AS noted (name, position, leader, led_at, led_until)
SELECT $1, 0, $2, clock.now, clock.now + $3 FROM clock
ON CONFLICT (name) DO UPDATE
SET leader = excluded.leader, led_at = excluded.led_at, led_until = excluded.led_until
WHERE noted.leader IS NULL OR noted.leader = excluded.leader
    OR excluded.led_at NOT BETWEEN noted.led_at AND noted.led_until - 1
RETURNING noted.name
