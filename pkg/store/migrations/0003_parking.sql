-- Parking: what came (parking_events), what follows from it (parking_sessions), and what was told
-- to the outside (parking_summaries). See 0001_logs.sql for the order of columns, timestamptz(3)
-- and the direction of indexes.
--
-- A plate's events stand in the order (time, is_exit, id): of two at the same time, the entry is
-- first. What stands next to an event decides what it means:
--
--     an entry before an exit       matched: it ends with that exit
--     an entry before an entry      anomalous: it ends when the vehicle drives in again
--     an entry before nothing       open
--     an exit after no entry        unmatched: it begins and ends with that exit
--     an exit after an entry        none of its own; one that it had is withdrawn
--
-- So a session is a function of what came and not of the order in which it came, and a new event
-- changes no other sessions than its own, that of the entry right before it and that of the exit
-- right after it.
--
-- Neither events nor sessions are partitioned: an event id is there once, whatever time it brings,
-- and a plate has one open session. Their retention is parking_forget, in pieces.
CREATE TABLE parking_events (
    time timestamptz(3) NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    id uuid PRIMARY KEY,
    is_exit boolean NOT NULL,
    garage_id text COLLATE "C" NOT NULL,
    vehicle_plate text COLLATE "C" NOT NULL,
    stream_id text,
    traceparent text
);

CREATE INDEX parking_events_plate ON parking_events (vehicle_plate, time, is_exit, id);
CREATE INDEX parking_events_garage ON parking_events (garage_id, time);

-- A session has the id, time and plate of the event that begins it: those of one plate are found by
-- its events, which are few, and need no index of their own that every change would pay for.
-- exit_time is NULL while it is open; revision counts what it was since it was closed, from 1.
CREATE TABLE parking_sessions (
    entry_time timestamptz(3) NOT NULL,
    exit_time timestamptz(3),
    stored_at timestamptz NOT NULL DEFAULT now(),
    session_id uuid PRIMARY KEY,
    revision int NOT NULL,
    matched boolean NOT NULL,
    anomalous boolean NOT NULL,
    withdrawn boolean NOT NULL,
    garage_id text COLLATE "C" NOT NULL,
    vehicle_plate text COLLATE "C" NOT NULL
);

CREATE UNIQUE INDEX parking_sessions_open ON parking_sessions (vehicle_plate)
    WHERE exit_time IS NULL;
CREATE INDEX parking_sessions_present ON parking_sessions (entry_time, session_id)
    INCLUDE (garage_id) WHERE exit_time IS NULL;
CREATE INDEX parking_sessions_ended ON parking_sessions (exit_time) WHERE exit_time IS NOT NULL;
CREATE INDEX parking_sessions_time ON parking_sessions (entry_time, session_id);
CREATE INDEX parking_sessions_garage ON parking_sessions (garage_id, entry_time, session_id);

-- The key begins with the time: nobody looks for the id alone, and so it is the order of pages too.
CREATE TABLE parking_summaries (
    exit_time timestamptz(3) NOT NULL,
    entry_time timestamptz(3) NOT NULL,
    duration_s double precision NOT NULL,
    amount_cents double precision NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now(),
    id uuid NOT NULL,
    session_id uuid NOT NULL,
    revision int NOT NULL,
    matched boolean NOT NULL,
    anomalous boolean NOT NULL,
    withdrawn boolean NOT NULL,
    garage_id text COLLATE "C" NOT NULL,
    vehicle_plate text COLLATE "C" NOT NULL,
    currency text NOT NULL,
    stream_id text,
    traceparent text,
    PRIMARY KEY (exit_time, id)
) PARTITION BY RANGE (exit_time);

CREATE INDEX parking_summaries_plate ON parking_summaries (vehicle_plate, exit_time, id);
CREATE INDEX parking_summaries_garage ON parking_summaries (garage_id, exit_time, id);

CREATE TABLE parking_summaries_default PARTITION OF parking_summaries DEFAULT;

-- The highest revision of each session that has more than one summary: few do, and to look for them
-- among the summaries would be to look into every partition for each.
CREATE TABLE parking_corrections (
    session_id uuid PRIMARY KEY,
    revision int NOT NULL,
    stored_at timestamptz NOT NULL DEFAULT now()
);

CREATE INDEX parking_corrections_time ON parking_corrections (stored_at);

CREATE FUNCTION parking_correct() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO parking_corrections AS c (session_id, revision)
    VALUES (NEW.session_id, NEW.revision)
    ON CONFLICT (session_id) DO UPDATE SET stored_at = now(),
        revision = greatest(c.revision, excluded.revision);
    RETURN NULL;
END
$$;

CREATE TRIGGER parking_summaries_correct AFTER INSERT ON parking_summaries
    FOR EACH ROW WHEN (NEW.revision > 1) EXECUTE FUNCTION parking_correct();

-- What was corrected ended before it was, so its partition is gone a day after the correction's.
CREATE FUNCTION parking_forget_corrections(before timestamptz, most int) RETURNS bigint
LANGUAGE sql AS $$
    WITH gone AS (
        DELETE FROM parking_corrections WHERE session_id = ANY (ARRAY(
            SELECT c.session_id FROM parking_corrections c
            WHERE c.stored_at < before - interval '1 day' ORDER BY c.stored_at LIMIT most))
        RETURNING 1
    )
    SELECT count(*) FROM gone
$$;

-- Stores the events of these ids that are new, and returns their number, then the summary of every
-- closed session that is one event's or its neighbours', whether it changed now or before: what
-- died before it was told is told when its event comes again, or when the event comes that stands
-- between them by then.
--
-- One at a time, until the transaction ends. Each statement of a function sees what was committed
-- before it began, so those after the lock see what its former holder left; and nobody else changes
-- rows meanwhile, so they may be looked up once and be found again by their place (ctid).
--
-- Every row is found by its index, whatever the statistics say: plans live as long as a connection,
-- and those made for empty tables would outlive them.
CREATE FUNCTION parking_apply(times timestamptz[], ids uuid[], garages text[], plates text[],
                              exits boolean[], stream_ids text[], traceparents text[])
RETURNS TABLE (inserted bigint, key text, event json) LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    batch parking_events[];
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('millrace'), hashtext('parking'));

    WITH new AS (
        INSERT INTO parking_events
            (time, id, garage_id, vehicle_plate, is_exit, stream_id, traceparent)
        SELECT DISTINCT ON (n.id) n.*
        FROM unnest(times, ids, garages, plates, exits, stream_ids, traceparents)
            n (time, id, garage_id, vehicle_plate, is_exit, stream_id, traceparent)
        WHERE NOT EXISTS (SELECT FROM parking_events e WHERE e.id = n.id)
        RETURNING parking_events
    )
    SELECT count(*), array_agg(parking_events) FROM new INTO inserted, batch;
    RETURN NEXT;

    -- of those that were there before, what is stored counts, and not what came with them now
    IF inserted < cardinality(ids) THEN
        batch := ARRAY(SELECT e FROM parking_events e WHERE e.id = ANY (ids));
    END IF;

    RETURN QUERY
    WITH touched AS (
        SELECT e.id, e.time, e.is_exit, e.garage_id, e.vehicle_plate,
            before.id AS previous_id, before.time AS previous_time,
            before.is_exit AS previous_is_exit, before.garage_id AS previous_garage,
            after.id AS next_id, after.time AS next_time,
            after.is_exit AS next_is_exit, after.garage_id AS next_garage
        FROM unnest(batch) e
        LEFT JOIN LATERAL (
            SELECT b.id, b.time, b.is_exit, b.garage_id FROM parking_events b
            WHERE b.vehicle_plate = e.vehicle_plate
            AND (b.time, b.is_exit, b.id) < (e.time, e.is_exit, e.id)
            ORDER BY b.time DESC, b.is_exit DESC, b.id DESC LIMIT 1) before ON true
        LEFT JOIN LATERAL (
            SELECT a.id, a.time, a.is_exit, a.garage_id FROM parking_events a
            WHERE a.vehicle_plate = e.vehicle_plate
            AND (a.time, a.is_exit, a.id) > (e.time, e.is_exit, e.id)
            ORDER BY a.time, a.is_exit, a.id LIMIT 1) after ON true
    ),
    -- Each with what decides about it: what comes after an entry, what comes before an exit. Three
    -- sessions may change with an event, and each of them once however many of its events came.
    concerned AS (
        SELECT t.id AS session_id, t.garage_id, t.vehicle_plate, t.time AS entry_time, t.is_exit,
            CASE WHEN t.is_exit THEN t.previous_time ELSE t.next_time END AS decider_time,
            CASE WHEN t.is_exit THEN t.previous_is_exit ELSE t.next_is_exit END AS decider_is_exit
        FROM touched t
        UNION ALL
        SELECT t.previous_id, t.previous_garage, t.vehicle_plate, t.previous_time, false,
            t.time, t.is_exit
        FROM touched t WHERE NOT t.previous_is_exit
        UNION ALL
        SELECT t.next_id, t.next_garage, t.vehicle_plate, t.next_time, true, t.time, t.is_exit
        FROM touched t WHERE t.next_is_exit
    ),
    derived AS (
        SELECT DISTINCT ON (d.session_id) d.session_id, d.garage_id, d.vehicle_plate, d.entry_time,
            CASE WHEN d.is_exit THEN d.entry_time ELSE d.decider_time END AS exit_time,
            NOT d.is_exit AND d.decider_is_exit IS TRUE AS matched,
            NOT d.is_exit AND d.decider_is_exit IS FALSE AS anomalous,
            d.is_exit AND d.decider_is_exit IS FALSE AS withdrawn
        FROM concerned d
    ),
    current AS MATERIALIZED (
        SELECT d.*, s.ctid AS place, s.revision AS known,
            CASE WHEN s.session_id IS NULL THEN (d.exit_time IS NOT NULL)::int
                WHEN (d.exit_time, d.matched, d.anomalous, d.withdrawn)
                    IS DISTINCT FROM (s.exit_time, s.matched, s.anomalous, s.withdrawn)
                THEN s.revision + 1 ELSE s.revision END AS revision
        FROM derived d LEFT JOIN parking_sessions s USING (session_id)
        WHERE s.session_id IS NOT NULL OR NOT d.withdrawn
    ),
    changed AS (
        UPDATE parking_sessions s SET revision = c.revision, exit_time = c.exit_time,
            matched = c.matched, anomalous = c.anomalous, withdrawn = c.withdrawn,
            stored_at = now()
        FROM current c WHERE s.ctid = c.place AND c.revision <> c.known
        RETURNING 1
    ),
    -- after those that closed, which make room for the plate's next open one
    opened AS (
        INSERT INTO parking_sessions (session_id, revision, entry_time, exit_time, matched,
            anomalous, withdrawn, garage_id, vehicle_plate)
        SELECT c.session_id, c.revision, c.entry_time, c.exit_time, c.matched, c.anomalous,
            c.withdrawn, c.garage_id, c.vehicle_plate
        FROM (SELECT count(*) FROM changed) first, current c WHERE c.known IS NULL
    )
    SELECT NULL::bigint, c.session_id || '.' || c.revision,
        json_build_object('exit_time', c.exit_time,
            'entry_time', c.entry_time, 'session_id', c.session_id,
            'revision', c.revision, 'garage_id', c.garage_id, 'vehicle_plate', c.vehicle_plate,
            'duration_s', extract(epoch FROM c.exit_time - c.entry_time)::float8,
            'matched', c.matched, 'anomalous', c.anomalous, 'withdrawn', c.withdrawn)
    FROM current c WHERE c.exit_time IS NOT NULL;
END
$$;

-- Forgets the sessions of longest ago that ended before a time, about `most`, with their events;
-- returns how many events. Call it until there are none.
--
-- An entry goes together with what ended it, or it would look open, and its exit unmatched, to who
-- comes late: so of each plate goes everything before a horizon but an entry that was not ended
-- before it. What is old and arrived late counts from its arrival: its plate waits for it.
CREATE FUNCTION parking_forget(before timestamptz, most int) RETURNS bigint LANGUAGE plpgsql
SET enable_seqscan = off SET enable_hashjoin = off SET enable_mergejoin = off AS $$
DECLARE
    gone bigint;
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('millrace'), hashtext('parking'));

    WITH oldest AS MATERIALIZED (
        SELECT s.vehicle_plate, s.exit_time FROM parking_sessions s
        WHERE s.exit_time < before
        AND NOT EXISTS (SELECT FROM parking_events late
            WHERE late.vehicle_plate = s.vehicle_plate AND late.time < before
            AND late.stored_at >= before)
        ORDER BY s.exit_time LIMIT most
    ),
    horizon AS MATERIALIZED (
        SELECT max(exit_time) + interval '1 millisecond' AS time FROM oldest
    ),
    old AS MATERIALIZED (
        SELECT e.id FROM horizon h, (SELECT DISTINCT vehicle_plate FROM oldest) p
        JOIN parking_events e USING (vehicle_plate)
        WHERE e.time < h.time AND (e.is_exit OR EXISTS (SELECT FROM parking_sessions s
            WHERE s.session_id = e.id AND s.exit_time < h.time))
    ),
    sessions AS (
        DELETE FROM parking_sessions s USING old o WHERE s.session_id = o.id
    ),
    events AS (
        DELETE FROM parking_events e USING old o WHERE e.id = o.id RETURNING 1
    )
    SELECT count(*) FROM events INTO gone;
    RETURN gone;
END
$$;
