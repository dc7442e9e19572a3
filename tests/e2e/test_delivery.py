"""Every event that was accepted is stored exactly once, however many processors there are, and when."""

import itertools
import json
import uuid

from events import now, reading
from stack import Connection, place, until


def send_mixed(stack, count):
    """So many events, half logs and half readings, alone and in bulk bodies; their ids."""
    client, ids = Connection(stack.ingestion), []
    sizes = itertools.cycle([1, 1, 1, 500])
    for path, event in (("/readings", lambda i: reading("site-%d" % (i % 9))),
                        ("/logs", lambda i: {"message": "m%d" % i, "timestamp": now()})):
        todo = count // 2
        while todo:
            size = min(todo, next(sizes))
            todo -= size
            kind = "application/json" if size == 1 else "application/x-ndjson"
            status, body = client.post(path, "\n".join(json.dumps(event(todo + i)) for i in range(size)), kind)
            assert status == 201, body[:300]
            ids += [json.loads(line)["id"] for line in body.splitlines()]
    client.close()
    assert len(ids) == len(set(ids)) == count
    return ids


def stored_ids(stack):
    return [str(row[0]) for table in ("logs", "readings") for row in stack.query("SELECT id FROM " + table)]


def test_what_is_sent_while_the_processor_is_away_is_stored_once_it_is_back(new_stack):
    stack = new_stack()
    assert stack.processor.stop() == 0
    ids = send_mixed(stack, 10_000)
    assert stack.count("logs") + stack.count("readings") == 0
    stack.processor.start().wait_ready()
    stack.wait_settled()
    assert sorted(stored_ids(stack)) == sorted(ids)
    assert stack.dead_letters() == []


def test_three_processors_share_the_work(new_stack):
    stack = new_stack({"processor": {"BATCH_ROWS": "20"}}, processors=3)
    ids = []
    for _ in range(5):
        ids += send_mixed(stack, 2_000)
    stack.wait_settled()
    assert sorted(stored_ids(stack)) == sorted(ids)
    shares = [processor.metric("store_rows_total") for processor in stack.processors]
    print("rows of each processor:", shares)
    assert sum(shares) == len(ids) and all(share > 0 for share in shares)


def test_a_processor_that_serves_one_topic_leaves_the_others(new_stack):
    stack = new_stack({"processor": {"PROCESSOR_TOPICS": "readings"}})
    send_mixed(stack, 100)
    until(lambda: stack.count("readings") == 50, 10, "the readings are stored")
    with stack.wire() as wire:
        assert wire.outstanding("LOGS", "processor-logs") > 0
    assert stack.count("logs") == 0


def test_what_others_put_on_the_stream_is_stored_too(new_stack):
    """With a stock tool: no id, no headers."""
    stack = new_stack()
    with stack.wire() as wire:
        sequence = wire.publish("logs.by-hand", b'{"message":"by hand"}')
        event = {"id": str(uuid.uuid4()), "message": "with an id", "service": "by-hand"}
        wire.publish("logs.by-hand", json.dumps(event).encode())
    stack.wait_settled()
    rows = {message: (str(id_), stream_id) for message, id_, stream_id in
            stack.query("SELECT message, id, stream_id FROM logs")}
    assert rows["with an id"][0] == event["id"] and rows["by hand"][1] == sequence


def test_an_undecodable_message_is_one_dead_letter_and_its_neighbours_are_stored(new_stack):
    stack = new_stack()
    assert stack.processor.stop() == 0
    with stack.wire() as wire:
        wire.publish("logs.a", b'{"message":"before"}')
        bad = wire.publish("logs.a", b"\xffnot json", {"Nats-Msg-Id": "bad-1", "X-Mine": "kept"})
        pack = b'{"message":"line 1"}\n{"message":2}\n{"message":"line 3"}\n'
        packed = wire.publish("logs.a", pack, {"ce-datacontenttype": "application/x-ndjson"})
        wire.publish("logs.a", b'{"message":"after"}')
    stack.processor.start().wait_ready()
    stack.wait_settled()
    assert {row[0] for row in stack.query("SELECT message FROM logs")} == {"before", "line 1", "line 3", "after"}

    whole, part = sorted(stack.dead_letters(), key=lambda letter: place(letter.headers["dead-sequence"]))
    assert whole.subject == part.subject == "dead.LOGS.processor-logs"
    assert whole.data == b"\xffnot json" and whole.headers["X-Mine"] == "kept"
    headers = whole.headers
    assert (headers["dead-stream"], headers["dead-consumer"], headers["dead-sequence"], headers["dead-id"]) == \
        ("LOGS", "processor-logs", bad, "bad-1")
    assert headers["dead-reason"] in ("json_syntax", "invalid_utf8") and headers["dead-error"]
    assert headers["dead-attempts"] == "1" and headers["dead-first-time"] and headers["dead-last-time"]
    assert headers["Nats-Msg-Id"] == "dead:LOGS:processor-logs:%s" % bad
    assert part.data.strip() == b'{"message":2}'
    assert (part.headers["dead-part"], part.headers["dead-sequence"], part.headers["dead-reason"]) == \
        ("2", packed, "wrong_type")


def test_a_message_too_large_for_its_dead_letter_is_cut(new_stack):
    stack = new_stack()
    with stack.wire() as wire:
        wire.publish("logs.a", b"z" * 1048576)
    letter = until(stack.dead_letters, 10, "a dead letter")[0]
    assert letter.headers["dead-size"] == "1048576"
    assert 1000000 < len(letter.data) < 1048576 and set(letter.data) == {ord("z")}
    stack.wait_settled()


def test_a_stream_that_vanished_is_made_again(new_stack):
    stack = new_stack()
    assert stack.processor.stop() == 0  # it looks for itself, and may be quicker than we are
    with stack.wire() as wire:
        wire.delete_stream("READINGS")
    gone = stack.post("/readings", reading("s"))
    assert gone.status_code == 503 and gone.headers["Retry-After"]
    until(lambda: stack.post("/readings", reading("s")).status_code == 201, 15, "the stream is there again")
    stack.processor.start().wait_ready()
    until(lambda: stack.count("readings") == 1, 15, "its event is stored")


def test_lag_rises_while_nobody_works_and_falls_to_zero(new_stack):
    stack = new_stack()
    assert stack.processor.stop() == 0
    for i in range(30):
        assert stack.post("/logs", {"message": "m%d" % i}).status_code == 201
    lag = stack.get("/consumers/processor-logs/lag")
    with stack.wire() as wire:
        assert wire.outstanding("LOGS", "processor-logs") == 30
    assert (lag["name"], lag["stream"], lag["unread"], lag["in_flight"], lag["lag"]) == \
        ("processor-logs", "LOGS", 30, 0, 30)
    assert lag["oldest_age_ms"] > 0
    consumers = {consumer["name"]: consumer for consumer in stack.get("/consumers")["consumers"]}
    assert consumers["processor-logs"]["lag"] == 30 and consumers["processor-readings"]["lag"] == 0
    stack.processor.start().wait_ready()
    lag = until(lambda: (lambda lag: lag if lag["lag"] == 0 else None)(stack.get("/consumers/processor-logs/lag")),
                10, "the lag is zero")
    assert (lag["unread"], lag["in_flight"], lag["delayed"], lag["oldest_age_ms"]) == (0, 0, 0, 0)
