"""What the documentation shows: requests, their answers, and what can be read back."""

import datetime
import json
import re
import urllib.parse
import uuid

import pytest

from events import UTC, cloudevent_headers, iso, now, reading, seconds, unique
from redis_wire import key, pairs
from stack import until


def wait_rows(stack, path, member, count, **params):
    return until(lambda: (lambda rows: rows if len(rows) >= count else None)(stack.get(path, **params)[member]),
                 10, "%d %s at %s" % (count, member, path))


# ---- readings ----


def test_a_reading_is_accepted_and_read_back(stack):
    site = unique()
    sent = {"site_id": site, "device_id": "meter-42", "power_reading": 1500.5, "timestamp": "2024-01-15T10:30:00Z"}
    answer = stack.post("/readings", sent)
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert set(body) == {"status", "stream_id", "id"}
    assert body["status"] == "accepted"
    assert re.fullmatch(r"\d+(-\d+)?", body["stream_id"])
    assert uuid.UUID(body["id"]).version == 7

    [found] = wait_rows(stack, "/sites/%s/readings" % site, "readings", 1)
    assert seconds(found.pop("timestamp")) == seconds(sent["timestamp"])
    found.pop("traceparent", None)
    assert found == {"id": body["id"], "stream_id": body["stream_id"], "site_id": site, "device_id": "meter-42",
                     "power_reading": 1500.5}


def test_an_unknown_site_has_an_empty_list(stack):
    answer = stack.get("/sites/%s/readings" % unique())
    assert answer["readings"] == [] and answer["next"] is None and answer["site_id"].startswith("site-")


@pytest.mark.parametrize("site", ["a.b >*", "Ä/ß", "x" * 128, "50%", " "])
def test_a_site_is_stored_under_exactly_its_name(stack, site):
    device = unique("device")
    assert stack.post("/readings", reading(site, device_id=device)).status_code == 201
    path = "/sites/%s/readings" % urllib.parse.quote(site, safe="")
    [found] = wait_rows(stack, path, "readings", 1, device=device)
    assert found["site_id"] == site
    assert stack.count("readings", "site_id = %s AND device_id = %s", site, device) == 1


def test_pages_go_back_in_time_and_repeat_nothing(stack):
    site = unique()
    times = [now(minutes=i) for i in range(25)]
    assert stack.post("/readings", [reading(site, timestamp=t) for t in times]).status_code == 201
    wait_rows(stack, "/sites/%s/readings" % site, "readings", 25, limit=100)
    rows, sizes = stack.pages("/sites/%s/readings" % site, "readings", limit=10)
    assert sizes == [10, 10, 5]
    assert [seconds(row["timestamp"]) for row in rows] == [seconds(t) for t in times]
    assert len({row["id"] for row in rows}) == 25


def test_readings_are_chosen_by_time_and_device(stack):
    site = unique()
    events = [reading(site, device_id="m%d" % (i % 2), timestamp=now(hours=i)) for i in range(6)]
    assert stack.post("/readings", events).status_code == 201
    path = "/sites/%s/readings" % site
    wait_rows(stack, path, "readings", 6)
    assert len(stack.get(path, device="m1")["readings"]) == 3
    between = {"from": events[4]["timestamp"], "to": events[2]["timestamp"]}
    assert [r["timestamp"] for r in stack.get(path, **between)["readings"]] == \
        [events[3]["timestamp"], events[4]["timestamp"]], "from is included, to is not"


def test_statistics_of_a_site(stack):
    site = unique()
    start = datetime.datetime.now(UTC).replace(minute=0, second=0, microsecond=0) - datetime.timedelta(hours=5)
    events = [reading(site, power_reading=p, timestamp=iso(start + datetime.timedelta(minutes=m)))
              for m, p in ((0, 1000), (30, 2000), (59, 3000))]
    assert stack.post("/readings", events).status_code == 201
    wait_rows(stack, "/sites/%s/readings" % site, "readings", 3)
    stats = stack.get("/sites/%s/stats" % site, bucket="hour",
                      **{"from": iso(start), "to": iso(start + datetime.timedelta(hours=1))})
    [bucket] = [b for b in next(v for v in stats.values() if isinstance(v, list)) if b["count"]]
    assert bucket["count"] == 3
    assert (bucket["min"], bucket["avg"], bucket["max"]) == (1000, 2000, 3000)
    # half an hour at 1.5 kW on average, then 29 minutes at 2.5 kW
    assert bucket["energy_kwh"] == pytest.approx(1.5 * 0.5 + 2.5 * 29 / 60)


# ---- logs ----


def test_send_and_read_the_latest_logs(stack):
    message = unique("hello")
    answer = stack.ingestion.get("/send", params={"message": message})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body["status"] == "sent" and body["stream"] == "LOGS" and re.fullmatch(r"\d+(-\d+)?", body["id"])
    assert body["event"]["message"] == message and isinstance(body["event"]["timestamp"], float)

    found = until(lambda: next((log for log in stack.get("/logs", limit=20)["logs"] if log["message"] == message),
                               None), 10, "the log is in the latest 20")
    assert isinstance(found["id"], int) and isinstance(found["timestamp"], float)
    assert found["timestamp"] == pytest.approx(body["event"]["timestamp"], abs=0.001)
    assert found["event_id"] == body["event_id"]


def test_send_has_a_default_message(stack):
    assert stack.ingestion.get("/send").json()["event"]["message"] == "log event"


def test_every_field_of_a_log_comes_back(stack):
    sent = {"id": str(uuid.uuid4()), "timestamp": "2026-01-02T03:04:05.678Z", "level": "CRITICAL",
            "service": unique("service"), "message": "naïve ☃ \"quoted\" \\ \n\t <b>&amp;</b>",
            "attributes": {"n": 1, "f": 1.5, "s": "ü", "deep": {"list": [1, None, True, "x"]}, "": "empty"}}
    answer = stack.post("/logs", sent)
    assert answer.status_code == 201, answer.text
    assert answer.json()["id"] == sent["id"]
    [found] = wait_rows(stack, "/logs", "logs", 1, service=sent["service"])
    assert found["event_id"] == sent["id"]
    assert {name: found[name] for name in ("level", "service", "message", "attributes")} == \
        {name: sent[name] for name in ("level", "service", "message", "attributes")}
    assert found["time"] == sent["timestamp"] and found["timestamp"] == pytest.approx(seconds(sent["timestamp"]))


def test_a_log_needs_only_its_message(stack):
    message = unique("only")
    assert stack.post("/logs", {"message": message, "unknown_field": [1]}).status_code == 201
    [found] = wait_rows(stack, "/logs", "logs", 1, q=message)
    assert (found["level"], found["service"]) == ("INFO", "unknown")
    assert abs(found["timestamp"] - datetime.datetime.now().timestamp()) < 30


def test_the_longest_log_is_accepted(stack):
    service = unique("service")
    sent = {"message": "x" * 65536, "service": service, "attributes": {"a": "y" * 16000}}
    answer = stack.post("/logs", sent)
    assert answer.status_code == 201, answer.text
    [found] = wait_rows(stack, "/logs", "logs", 1, service=service)
    assert found["message"] == sent["message"] and found["attributes"] == sent["attributes"]


def test_logs_are_chosen_by_level_service_text_and_time(stack):
    service = unique("service")
    levels = ["TRACE", "DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"]
    events = [{"service": service, "level": level, "message": "event %s" % level, "timestamp": now(minutes=i)}
              for i, level in enumerate(levels)]
    assert stack.post("/logs", events).status_code == 201
    assert [log["level"] for log in wait_rows(stack, "/logs", "logs", 6, service=service)] == levels, "newest first"
    assert [log["level"] for log in stack.get("/logs", service=service, level="ERROR")["logs"]] == ["ERROR"]
    assert [log["level"] for log in stack.get("/logs", service=service, q="EVENT warn")["logs"]] == ["WARNING"]
    from_timestamp = seconds(events[1]["timestamp"])
    assert len(stack.get("/logs", service=service, from_timestamp=from_timestamp)["logs"]) == 2
    assert len(stack.pages("/logs", "logs", service=service, limit=4)[0]) == 6


def test_statistics_of_logs(stack):
    service = unique("service")
    levels = ["INFO"] * 6 + ["ERROR"] * 3 + ["CRITICAL"]
    events = [{"service": service, "level": level, "message": "m-%s" % level} for level in levels]
    assert stack.post("/logs", events).status_code == 201
    wait_rows(stack, "/logs", "logs", 10, service=service)
    stats = stack.get("/logs/stats", service=service)
    counts = {row["level"]: row["count"] for row in stats["levels"]}
    assert counts == {"INFO": 6, "ERROR": 3, "CRITICAL": 1}
    assert [(row["service"], row["count"]) for row in stats["services"]] == [(service, 10)]
    assert stats["services"][0]["error_rate"] == pytest.approx(0.4)
    assert sum(row["count"] for row in stats["minutes"]) == 10
    top = next(value for name, value in stats.items() if name.startswith(("top", "messages")))
    assert [(row["message"], row["count"]) for row in top[:2]] == [("m-INFO", 6), ("m-ERROR", 3)]


# ---- many at once ----


def test_ndjson_is_answered_line_by_line(stack):
    service = unique("service")
    answer = stack.post("/logs", b'{"message":"a","service":"%s"}\n{"message":1}\n\n{"message":"c","service":"%s"}'
                        % (service.encode(), service.encode()), Content_Type="application/x-ndjson; charset=utf-8")
    assert answer.status_code == 207
    assert answer.headers["Content-Type"].startswith("application/x-ndjson")
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [(line["line"], line["status"]) for line in lines if line["status"] != 422] == [(1, 201), (4, 201)]
    bad = next(line for line in lines if line["line"] == 2)
    assert (bad["status"], bad["code"], bad["pointer"]) == (422, "wrong_type", "/message") and bad["detail"]
    found = wait_rows(stack, "/logs", "logs", 2, service=service)
    assert {log["event_id"] for log in found} == {line["id"] for line in lines if line["status"] == 201}


# ---- what the broker has ----


def test_a_message_is_readable_with_stock_tools(stack):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    sent = reading("berlin 1", device_id="m.1")
    body = stack.post("/readings", sent, traceparent=trace).json()
    with stack.wire() as wire:
        message = wire.message("READINGS", body["stream_id"])
    assert message.subject == "readings.berlin=201.m=2E1"
    event = message.json()
    assert event["id"] == body["id"] and event["power_reading"] == 1500.5
    assert event["site_id"] == "berlin 1" and event["timestamp"] == sent["timestamp"]
    headers = message.headers
    assert headers["Nats-Msg-Id"] == body["id"] == headers["ce-id"]
    assert headers["ce-specversion"] == "1.0" and headers["ce-type"] == "millrace.v1.Reading"
    assert headers["ce-source"] and headers["ce-time"] == sent["timestamp"]
    assert headers["traceparent"] == trace


def test_a_bulk_body_is_packed_and_every_line_has_its_id(stack):
    service = unique("service")
    events = [{"service": service, "message": "packed %d" % i} for i in range(250)]
    answer = stack.post("/logs", events)
    ids = [json.loads(line)["id"] for line in answer.text.splitlines()]
    first = json.loads(answer.text.splitlines()[0])["stream_id"].split(".")[0]
    with stack.wire() as wire:
        message = wire.message("LOGS", first)
    assert message.headers["ce-datacontenttype"] == "application/x-ndjson"
    lines = message.lines()
    assert len(lines) > 1 and [line["id"] for line in lines] == ids[: len(lines)]
    assert lines[0]["message"] == "packed 0"


@pytest.mark.only("nats")
def test_streams_and_consumers_are_as_documented(stack):
    with stack.wire() as wire:
        for stream, consumer in (("LOGS", "processor-logs"), ("READINGS", "processor-readings")):
            config = wire.stream(stream)["config"]
            assert (config["storage"], config["retention"], config["discard"]) == ("file", "limits", "new")
            assert config["subjects"] == [stream.lower() + ".>"]
            assert config["duplicate_window"] == 600 * 10**9 and config["max_bytes"] == 268435456
            config = wire.consumer(stream, consumer)["config"]
            assert config["durable_name"] == consumer
            assert (config["ack_policy"], config["deliver_policy"]) == ("explicit", "all")
            assert config["max_deliver"] == -1, "the driver counts the attempts, so that none vanishes"
        assert wire.stream("DEAD")["config"]["subjects"] == ["dead.>"]


@pytest.mark.only("redis")
def test_redis_streams_and_groups_are_as_documented(stack):
    with stack.wire() as wire:
        assert set(wire.call("SMEMBERS", "millrace:streams")) >= {b"LOGS", b"READINGS", b"DEAD"}
        for stream, group in (("LOGS", "processor-logs"), ("READINGS", "processor-readings")):
            assert wire.call("TYPE", key(stream)) == b"stream"
            settings = pairs(wire.call("HGETALL", key(stream, ":meta")))
            assert settings["subjects"].decode() == stream.lower() + ".>"
            assert (settings["dedup_window_ms"], settings["max_bytes"]) == (b"600000", b"268435456")
            assert wire.groups(stream)[group]["lag"] is not None, "what autoscalers read"


# ---- CloudEvents ----


def test_a_cloudevent_in_binary_mode(stack):
    service = unique("service")
    time = "2026-03-04T05:06:07.000Z"
    answer = stack.post("/logs", {"message": "binary", "service": service}, **cloudevent_headers(ce_time=time))
    assert answer.status_code == 201, answer.text
    [found] = wait_rows(stack, "/logs", "logs", 1, service=service)
    assert found["message"] == "binary" and found["time"] == time
    with stack.wire() as wire:
        headers = wire.message("LOGS", answer.json()["stream_id"]).headers
    assert headers["ce-source"] == "/tests" and headers["ce-type"] == "millrace.v1.Log"


def test_a_cloudevent_in_structured_mode(stack):
    service = unique("service")
    event = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/tests", "type": "millrace.v1.Log",
             "time": "2026-03-04T05:06:07Z", "datacontenttype": "application/json",
             "data": {"message": "structured", "service": service}}
    for attempt in range(2):
        answer = stack.post("/logs", event, Content_Type="application/cloudevents+json")
        assert answer.status_code == 201, answer.text
        assert answer.json()["id"] == event["id"]
        assert answer.json().get("duplicate", False) == (attempt == 1)
    stack.wait_settled()
    [found] = stack.get("/logs", service=service)["logs"]
    assert found["message"] == "structured" and found["event_id"] == event["id"]


# ---- the same twice ----


def test_an_idempotency_key_names_the_event(stack):
    service = unique("service")
    event = {"message": "once", "service": service, "timestamp": now()}
    first, second = (stack.post("/logs", event, Idempotency_Key="key-" + service).json() for _ in range(2))
    assert first["id"] == second["id"] and first["stream_id"] == second["stream_id"]
    assert "duplicate" not in first and second["duplicate"] is True
    other = stack.post("/logs", event, Idempotency_Key="other-" + service).json()
    assert other["id"] != first["id"]
    stack.wait_settled()
    assert stack.count("logs", "service = %s", service) == 2


def test_the_same_body_id_is_stored_once(stack):
    site = unique()
    event = reading(site, id=str(uuid.uuid4()))
    answers = [stack.post("/readings", event).json(), stack.post("/readings", event).json(),
               stack.post("/readings", [event, event])]
    assert answers[0]["stream_id"] == answers[1]["stream_id"] and answers[1]["duplicate"] is True
    assert answers[2].status_code == 201
    stack.wait_settled()
    assert stack.count("readings", "site_id = %s", site) == 1
