-- One replica delivers for a consumer at a time.
ALTER TABLE consumer ADD COLUMN leader BLOB;
ALTER TABLE consumer ADD COLUMN led_at INTEGER;
ALTER TABLE consumer ADD COLUMN led_until INTEGER;
