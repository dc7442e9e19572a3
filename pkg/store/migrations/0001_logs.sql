-- Log events. Fixed-width columns stand first, so that no row carries padding.
--
-- `seq` is the public number of an entry: unique, and only roughly in the order of arrival, since
-- each connection takes numbers a hundred at a time.
CREATE SEQUENCE logs_seq AS bigint CACHE 100;

-- timestamptz(3): a page's cursor counts milliseconds, so the column may not know more.
CREATE TABLE logs (
    seq bigint NOT NULL DEFAULT nextval('logs_seq'),
    timestamp timestamptz(3) NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    id uuid NOT NULL,
    level text NOT NULL,
    service text NOT NULL,
    message text NOT NULL,
    attributes jsonb,
    stream_id text,
    traceparent text,
    PRIMARY KEY (id, timestamp)
) PARTITION BY RANGE (timestamp);

ALTER SEQUENCE logs_seq OWNED BY logs.seq;

-- Pages read it backwards. Ascending, because a btree packs its pages when it grows at the right.
CREATE INDEX logs_time ON logs (timestamp, seq);

CREATE TABLE logs_default PARTITION OF logs DEFAULT;
