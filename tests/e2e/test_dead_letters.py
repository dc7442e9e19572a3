"""What could not be done: one dead letter each, with a reason, replayed once its cause is mended."""

import base64
import json
import signal
import time
import uuid

import psycopg
import pytest

from events import reading, unique
from stack import until
from test_bad_input import problem


def send_raw(stack, subject, data, headers=None):
    """A message straight to its stream, as no client of ours would send it."""
    with stack.wire() as wire:
        return wire.publish(subject, data, {"Nats-Msg-Id": str(uuid.uuid4()), **(headers or {})})


def letters(stack, **filters):
    found, _ = stack.pages("/dead-letters", "dead_letters", **filters)
    return found


def wait_for_letters(stack, count, seconds=15, **filters):
    """So many, and no more a moment later: what is settled is not buried again."""
    until(lambda: len(letters(stack, **filters)) >= count, seconds, "%d dead letters" % count)
    stack.wait_settled()
    found = letters(stack, **filters)
    assert len(found) == count, found
    return found


def replay(stack, **body):
    """All of it, in as many requests as it takes: what the answers add up to."""
    total = {"matched": 0, "replayed": 0, "cut": 0}
    while True:
        answer = stack.api.request("POST", "/dead-letters/replay", json=body)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        assert "error" not in page, page
        for name in total:
            total[name] += page[name]
        if page["next"] is None:
            return total
        body["cursor"] = page["next"]


def purge(stack, **filters):
    answer = stack.api.request("DELETE", "/dead-letters", params=filters)
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
def dead(new_stack):
    """A stack that gives up early, and whose store refuses what it is told to refuse."""
    return new_stack({"all": {"ACK_WAIT_MS": "1000", "MAX_ATTEMPTS": "2"}})


def refuse(stack, table, condition):
    stack.execute("ALTER TABLE %s ADD CONSTRAINT mistake CHECK (%s) NOT VALID" % (table, condition))


def mend(stack, table):
    stack.execute("ALTER TABLE %s DROP CONSTRAINT mistake" % table)


def test_what_the_store_refuses_is_replayed_once_the_cause_is_mended(dead):
    refuse(dead, "logs", "service <> 'bad'")
    good = [dead.post("/logs", {"message": "m", "service": "good"}).json()["id"] for _ in range(3)]
    bad = [dead.post("/logs", {"message": "m%d" % i, "service": "bad"}).json() for i in range(3)]
    found = wait_for_letters(dead, 3)
    assert dead.count("logs", "service = 'good'") == len(good)
    for letter, sent in zip(found, bad):
        assert (letter["stream"], letter["consumer"], letter["subject"]) == ("LOGS", "processor-logs", "logs.bad")
        assert (letter["sequence"], letter["message_id"]) == (sent["stream_id"], sent["id"])
        assert letter["reason"] and letter["reason"] == letter["reason"].lower() and " " not in letter["reason"]
        assert "mistake" in letter["error"], "the sentence names the constraint: %r" % letter["error"]
        assert (letter["attempts"], letter["replays"], letter["cut"], letter["part"]) == (1, 0, False, None)
        assert letter["first_time"] <= letter["last_time"]
        whole = dead.get("/dead-letters/" + letter["id"])
        assert {name: whole[name] for name in letter} == letter
        assert json.loads(whole["data"])["id"] == sent["id"]
        assert whole["headers"]["ce-id"] == sent["id"]

    assert replay(dead, stream="LOGS", dry_run=True) == {"matched": 3, "replayed": 0, "cut": 0}
    assert letters(dead) == found

    assert replay(dead, id=found[0]["id"])["replayed"] == 1  # too early: it fails again
    again = until(lambda: [letter for letter in letters(dead) if letter["replays"]], 15, "it failed again")
    assert [(letter["replays"], letter["sequence"], letter["message_id"], letter["first_time"]) for letter in again] \
        == [(1, found[0]["sequence"], found[0]["message_id"], found[0]["first_time"])]

    mend(dead, "logs")
    wait_for_letters(dead, 3)
    assert replay(dead, stream="LOGS") == {"matched": 3, "replayed": 3, "cut": 0}
    until(lambda: dead.count("logs", "service = 'bad'") == 3, 15, "they are stored")
    dead.wait_settled()
    assert letters(dead) == []
    assert {str(row[0]) for row in dead.query("SELECT id FROM logs WHERE service = 'bad'")} == \
        {sent["id"] for sent in bad}
    assert replay(dead) == {"matched": 0, "replayed": 0, "cut": 0}
    assert dead.count("logs") == 6


def test_a_line_of_a_bulk_body_is_replayed_without_its_neighbours(dead):
    refuse(dead, "readings", "power_reading < 1000")
    site = unique()
    answer = dead.post("/readings", [reading(site, power_reading=power) for power in (1, 5000, 2, 6000)])
    sent = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["status"] for line in sent] == [201] * 4
    found = wait_for_letters(dead, 2)
    assert [letter["part"] for letter in found] == [2, 4]
    assert [dead.get("/dead-letters/" + letter["id"])["data"].count("\n") for letter in found] == [0, 0]
    assert dead.count("readings") == 2
    mend(dead, "readings")
    assert replay(dead)["replayed"] == 2
    until(lambda: dead.count("readings") == 4, 15, "all four are stored")
    rows = {str(id_): place for id_, place in dead.query("SELECT id, stream_id FROM readings")}
    assert rows == {line["id"]: line["stream_id"] for line in sent}, "each under its own name and place"
    assert letters(dead) == []


def test_a_dead_stream_that_vanished_is_made_again(dead):
    with dead.wire() as wire:
        wire.delete_stream("DEAD")
    assert letters(dead) == []
    send_raw(dead, "logs.raw", b"no JSON")
    wait_for_letters(dead, 1, seconds=30)


def test_an_undecodable_message_is_one_letter_until_it_is_purged(dead):
    before = dead.post("/logs", {"message": "before"}).json()["id"]
    no_text = b'"\xff\xfe is no text"'
    place = send_raw(dead, "logs.raw", no_text, {"x-sender": "a hand"})
    send_raw(dead, "logs.raw", b'{"level":"INFO"}')
    after = dead.post("/logs", {"message": "after"}).json()["id"]
    bytes_, missing = wait_for_letters(dead, 2)
    assert {str(row[0]) for row in dead.query("SELECT id FROM logs")} == {before, after}
    assert (bytes_["sequence"], bytes_["reason"], bytes_["attempts"]) == (place, "invalid_utf8", 1)
    assert (missing["reason"], "message" in missing["error"]) == ("missing_field", True)
    whole = dead.get("/dead-letters/" + bytes_["id"])
    assert (base64.b64decode(whole["data_base64"]), whole["headers"]) == (no_text, {"x-sender": "a hand"})

    for replays in (1, 2):
        assert replay(dead, reason="invalid_utf8")["replayed"] == 1
        again = until(lambda: [letter for letter in letters(dead, reason="invalid_utf8")
                               if letter["replays"] == replays], 15, "it failed again")
        assert len(letters(dead)) == 2 and again[0]["sequence"] == place

    assert purge(dead, reason="missing_field", stream="READINGS")["removed"] == 0
    assert purge(dead, reason="missing_field", dry_run="true") == {"matched": 1, "removed": 0, "next": None}
    assert purge(dead, reason="missing_field") == {"matched": 1, "removed": 1, "next": None}
    assert [letter["reason"] for letter in letters(dead)] == ["invalid_utf8"]
    assert purge(dead, id=letters(dead)[0]["id"])["removed"] == 1
    assert letters(dead) == []


def end_waiting(stack, event):
    """kill -9 of the processor, whose backend waits for this; and the end of that."""
    waiting = "SELECT pid FROM pg_stat_activity WHERE '%s' IN (wait_event_type, wait_event)" % event
    until(lambda: stack.query(waiting), 20, "the database waits")
    stack.processor.kill()
    stack.query("SELECT pg_terminate_backend(pid) FROM (%s) AS waiting" % waiting)
    until(lambda: stack.query(waiting) == [], 10, "nothing waits in the database")


def crash_before_commit(stack, send):
    with psycopg.connect(stack.postgres.url) as lock:
        lock.execute("LOCK TABLE logs IN SHARE MODE")
        send()
        end_waiting(stack, "Lock")
        lock.rollback()


def crash_after_commit(stack, send):
    """It is committed, and nobody is told: the answer waits for a standby that there is not."""
    with psycopg.connect(stack.postgres.url, autocommit=True) as admin:
        admin.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        admin.execute("SELECT pg_reload_conf()")
        until(lambda: stack.query("SHOW synchronous_standby_names") == [("nobody",)], 10, "it is set")
        send()
        end_waiting(stack, "SyncRep")
        admin.execute("ALTER SYSTEM RESET synchronous_standby_names")
        admin.execute("SELECT pg_reload_conf()")


@pytest.mark.parametrize("named", [True, False], ids=["with an id", "with only its place"])
@pytest.mark.parametrize("committed", [False, True], ids=["not stored", "stored"])
def test_a_message_that_kills_its_processor_ends_as_one_letter(new_stack, named, committed):
    """Replayed, it is stored once, whether or not it was stored before its processor died."""
    stack = new_stack({"all": {"ACK_WAIT_MS": "5000", "MAX_ATTEMPTS": "1"}})

    def send():
        if named:
            assert stack.post("/logs", {"message": "deadly"}).status_code == 201
        else:
            with stack.wire() as wire:
                wire.publish("logs.raw", b'{"message":"deadly"}')

    (crash_after_commit if committed else crash_before_commit)(stack, send)
    assert stack.count("logs") == committed
    stack.processor.start().wait_ready()
    letter, = wait_for_letters(stack, 1, seconds=30)
    assert (letter["reason"], letter["attempts"], letter["replays"]) == ("max_attempts", 2, 0)
    assert "too often" in letter["error"]
    assert stack.count("logs") == committed

    assert replay(stack)["replayed"] == 1
    until(lambda: stack.count("logs") == 1, 15, "it is stored")
    stack.wait_settled()
    assert replay(stack)["matched"] == 0
    assert stack.query("SELECT count(*), count(DISTINCT id) FROM logs") == [(1, 1)]
    assert stack.query("SELECT stream_id FROM logs") == [(letter["sequence"],)]


@pytest.mark.parametrize("lines", [False, True], ids=["an event", "lines"])
def test_a_replay_of_what_is_stored_stores_nothing(new_stack, lines):
    """Buried although it is stored, twice over: the letters are written here, as a processor would."""
    stack = new_stack()
    body = b'{"message":"a"}\n{"message":"b"}\n{"message":"c"}\n' if lines else b'{"message":"a"}'
    with stack.wire() as wire:  # no id, no time: both come from its place
        wire.publish("logs.raw", body, {"ce-datacontenttype": "application/x-ndjson"} if lines else None)
    count = 3 if lines else 1
    until(lambda: stack.count("logs") == count, 15, "it is stored")
    stack.wait_settled()
    place, time_ = stack.query("SELECT split_part(stream_id, '.', 1), timestamp FROM logs LIMIT 1")[0]
    stamp = time_.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    for _ in range(2):
        letter = {"dead-stream": "LOGS", "dead-subject": "logs.raw", "dead-consumer": "processor-logs",
                  "dead-reason": "max_attempts", "dead-sequence": place, "dead-first-time": stamp,
                  "Nats-Msg-Id": str(uuid.uuid4())}
        if lines:
            letter["ce-datacontenttype"] = "application/x-ndjson"
        with stack.wire() as wire:
            wire.publish("dead.LOGS.processor-logs", body, letter)
        assert replay(stack)["replayed"] == 1
        until(lambda: letters(stack) == [], 10, "the letter is gone")
        stack.wait_settled()
    assert stack.count("logs") == count
    assert letters(stack) == []


# ---- bad input ----


@pytest.mark.parametrize("method, path, body, status, code, pointer", [
    ("GET", "/dead-letters?limit=0", None, 422, "out_of_range", "/query/limit"),
    ("GET", "/dead-letters?limit=501", None, 422, "out_of_range", "/query/limit"),
    ("GET", "/dead-letters?limit=ten", None, 422, "wrong_type", "/query/limit"),
    ("GET", "/dead-letters?cursor=abc", None, 422, "invalid_cursor", "/query/cursor"),
    ("GET", "/dead-letters?from=yesterday", None, 422, "bad_format", "/query/from"),
    ("GET", "/dead-letters?to=2026-01-01", None, 422, "bad_format", "/query/to"),
    ("GET", "/dead-letters?from=2026-01-02T00:00:00Z&to=2026-01-01T00:00:00Z", None, 422, "out_of_range",
     "/query/from"),
    ("GET", "/dead-letters?stream=%s" % ("x" * 129), None, 422, "out_of_range", "/query/stream"),
    ("GET", "/dead-letters?reason=%ff", None, 400, "invalid_utf8", "/query/reason"),
    ("GET", "/dead-letters?steam=LOGS", None, 422, "unknown_parameter", "/query/steam"),
    ("GET", "/dead-letters?%ff=1", None, 422, "unknown_parameter", "/query"),
    ("GET", "/dead-letters/999999999", None, 404, "not_found", None),
    ("GET", "/dead-letters/nothing", None, 404, "not_found", None),
    ("GET", "/dead-letters/-", None, 404, "not_found", None),
    ("GET", "/dead-letters/1/2", None, 404, None, None),
    ("DELETE", "/dead-letters", None, 400, "empty_filter", None),
    ("DELETE", "/dead-letters?stream=", None, 400, "empty_filter", None),
    ("DELETE", "/dead-letters?max=5", None, 400, "empty_filter", None),
    ("DELETE", "/dead-letters?reasn=x&stream=LOGS", None, 422, "unknown_parameter", "/query/reasn"),
    ("DELETE", "/dead-letters?stream=LOGS&reason=", None, 422, "out_of_range", "/query/reason"),
    ("DELETE", "/dead-letters?stream=LOGS&dry_run=", None, 422, "out_of_range", "/query/dry_run"),
    ("DELETE", "/dead-letters?stream=LOGS&max=0", None, 422, "out_of_range", "/query/max"),
    ("DELETE", "/dead-letters?stream=LOGS&dry_run=maybe", None, 422, "out_of_range", "/query/dry_run"),
    ("DELETE", "/dead-letters/1", None, 405, None, None),
    ("PUT", "/dead-letters", None, 405, None, None),
    ("POST", "/dead-letters", b"{}", 405, None, None),
    ("POST", "/dead-letters/replay", b"replay", 400, "json_syntax", None),
    ("POST", "/dead-letters/replay", b" ", 400, "json_empty", None),
    ("POST", "/dead-letters/replay", b"[]", 422, "wrong_type", None),
    ("POST", "/dead-letters/replay", b'{"stream":5}', 422, "wrong_type", "/stream"),
    ("POST", "/dead-letters/replay", b'{"stream":""}', 422, "out_of_range", "/stream"),
    ("POST", "/dead-letters/replay", b'{"dry_run":"yes"}', 422, "wrong_type", "/dry_run"),
    ("POST", "/dead-letters/replay", b'{"per_second":1.5}', 422, "wrong_type", "/per_second"),
    ("POST", "/dead-letters/replay", b'{"per_second":-1}', 422, "out_of_range", "/per_second"),
    ("POST", "/dead-letters/replay", b'{"max":0}', 422, "out_of_range", "/max"),
    ("POST", "/dead-letters/replay", b'{"from":"2026-02-30T00:00:00Z"}', 422, "bad_format", "/from"),
    ("POST", "/dead-letters/replay", b'{"cursor":"abc"}', 422, "invalid_cursor", "/cursor"),
    ("POST", "/dead-letters/replay", b'{"stream":"A","stream":"B"}', 422, "duplicate_key", "/stream"),
    ("POST", "/dead-letters/replay", b'{"a":"' + b"x" * 100_000 + b'"}', 413, None, None),
    ("POST", "/dead-letters/replay?dry_run=true", b"{}", 422, "unknown_parameter", "/query/dry_run"),
])
def test_bad_questions_are_refused(stack, method, path, body, status, code, pointer):
    problem(stack.api.request(method, path, data=body), status, code, pointer)
    assert stack.api.is_running()


def test_an_unknown_member_is_ignored(stack):
    answer = stack.api.request("POST", "/dead-letters/replay", json={"reason": unique(), "later": [1]})
    assert (answer.status_code, answer.json()) == (200, {"matched": 0, "replayed": 0, "cut": 0, "next": None})


def test_pages_of_dead_letters_go_on_while_letters_are_removed(dead):
    for i in range(7):
        send_raw(dead, "logs.raw", b"no JSON %d" % i)
    found = wait_for_letters(dead, 7)
    assert dead.pages("/dead-letters", "dead_letters", limit=3)[1] == [3, 3, 1]
    page = dead.get("/dead-letters", limit=3)
    assert purge(dead, id=found[3]["id"])["removed"] == 1
    rest, _ = dead.pages("/dead-letters", "dead_letters", limit=3, cursor=page["next"])
    assert [letter["id"] for letter in rest] == [letter["id"] for letter in found[4:]]
    assert replay(dead, max=2)["matched"] == 6


def test_without_the_broker_the_answer_is_503_in_time(new_stack):
    stack = new_stack()
    stack.broker.send(signal.SIGSTOP)
    for method, path, body in [("GET", "/dead-letters", None), ("GET", "/dead-letters/1", None),
                               ("POST", "/dead-letters/replay", b"{}"), ("DELETE", "/dead-letters?stream=LOGS", None)]:
        begun = time.monotonic()
        answer = stack.api.request(method, path, data=body)
        assert time.monotonic() - begun < 6
        problem(answer, 503)
        assert int(answer.headers["Retry-After"]) > 0
    stack.broker.send(signal.SIGCONT)
    until(lambda: stack.api.says("/dead-letters") == 200, 20, "the api answers again")
