-- One replica delivers for a consumer at a time.
ALTER TABLE keywheel.consumer
    ADD COLUMN leader uuid,
    ADD COLUMN led_at bigint,
    ADD COLUMN led_until bigint;
