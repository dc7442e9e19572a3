-- What became of weather requests, one row each. See 0001_logs.sql for the order of columns and
-- timestamptz(3). Rows are asked for by id alone, so that comes first in the key.
CREATE TABLE weather_results (
    request_time timestamptz(3) NOT NULL,
    forecast_time timestamptz(3),
    temperature double precision NOT NULL,
    wind_speed double precision NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    id uuid NOT NULL,
    humidity int NOT NULL,
    outcome text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    city text NOT NULL,
    location text NOT NULL,
    condition text NOT NULL,
    provider text NOT NULL,
    stream_id text,
    traceparent text,
    PRIMARY KEY (id, request_time)
) PARTITION BY RANGE (request_time);

CREATE TABLE weather_results_default PARTITION OF weather_results DEFAULT;
