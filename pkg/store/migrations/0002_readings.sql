-- Power readings of meters, in watts. See 0001_logs.sql for the order of columns, timestamptz(3)
-- and the direction of the index.
CREATE TABLE readings (
    timestamp timestamptz(3) NOT NULL,
    power_reading double precision NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    id uuid NOT NULL,
    site_id text COLLATE "C" NOT NULL,
    device_id text COLLATE "C" NOT NULL,
    stream_id text,
    traceparent text,
    PRIMARY KEY (id, timestamp)
) PARTITION BY RANGE (timestamp);

CREATE INDEX readings_site ON readings (site_id, timestamp, id);

CREATE TABLE readings_default PARTITION OF readings DEFAULT;
