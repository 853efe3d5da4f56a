-- The events that a consumer never took, by their place in the outbox. Times are microseconds since 1970.
CREATE TABLE keywheel.dead_letter (
    consumer text COLLATE "C" NOT NULL,
    position bigint NOT NULL,
    connection uuid NOT NULL,
    seq bigint NOT NULL,
    given_up_at bigint NOT NULL,
    attempts bigint NOT NULL,
    error text NOT NULL,
    PRIMARY KEY (consumer, position)
);
