"""Bad input: refused with the documented status, code and pointer, nothing stored, the service unharmed."""

import concurrent.futures
import json
import math
import os
import socket
import time

import pytest

from events import cloudevent_headers, now, reading, unique
from stack import until

GOOD = {"message": "a log"}


@pytest.fixture
def untouched(stack):
    """After the test the streams are as they were, and ingestion is the same process and well."""

    def counts():
        with stack.wire() as wire:
            return wire.last("LOGS"), wire.last("READINGS")

    before, pid = counts(), stack.ingestion.pid
    yield stack
    assert counts() == before, "something was stored"
    assert stack.ingestion.is_running() and stack.ingestion.pid == pid
    assert stack.ingestion.get("/livez").status_code == 200


def problem(answer, status, code=None, pointer=None):
    """The answer is the RFC 9457 problem it should be."""
    assert answer.status_code == status, answer.text[:300]
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    body = answer.json()
    assert body["status"] == status and body["title"] and body["type"] and body["detail"]
    if code:
        assert body["code"] == code, body
    pointers = [error["pointer"] for error in body.get("errors", [])]
    assert pointers == ([pointer] if pointer else []), body
    return body


def raw(body):
    return body if isinstance(body, bytes) else json.dumps(body).encode()


BODIES = [
    # name, path, body, status, code, pointer
    ("not JSON", "/logs", b"hello", 400, "json_syntax", None),
    ("half of an object", "/logs", b'{"message":"a"', 400, "json_syntax", None),
    ("two values", "/logs", b'{"message":"a"}{"message":"b"}', 400, "json_syntax", None),
    ("an empty body", "/logs", b"", 400, "json_empty", None),
    ("white space", "/readings", b" \n\t ", 400, "json_empty", None),
    ("2 MB", "/logs", b'{"message":"' + b"x" * 2_000_000 + b'"}', 413, None, None),
    ("depth 10,000", "/logs", b'{"message":"a","attributes":' + b'{"a":' * 10000 + b"1" + b"}" * 10001,
     400, "too_deep", None),
    ("unclosed depth 10,000", "/logs", b"[" * 10000, 400, None, None),
    ("depth in a list", "/logs", b'{"message":"a","attributes":{"a":' + b"[" * 40 + b"]" * 40 + b"}}", 400,
     "too_deep", None),
    ("bad UTF-8", "/logs", b'{"message":"\xff\xfe"}', 400, "invalid_utf8", None),
    ("an overlong encoding", "/logs", b'{"message":"\xc0\xaf"}', 400, "invalid_utf8", None),
    ("half a surrogate pair", "/logs", b'{"message":"\\ud800"}', 400, None, None),
    ("a NUL in text", "/logs", b'{"message":"a\\u0000b"}', 400, "invalid_utf8", None),
    ("not an object", "/logs", b"[1,2]", 422, "wrong_type", None),
    ("null", "/logs", b"null", 422, "wrong_type", None),
    ("a missing message", "/logs", {"level": "INFO"}, 422, "missing_field", "/message"),
    ("a null message", "/logs", {"message": None}, 422, "wrong_type", "/message"),
    ("a message that is a number", "/logs", {"message": 5}, 422, "wrong_type", "/message"),
    ("an empty message", "/logs", {"message": ""}, 422, "out_of_range", "/message"),
    ("a message of 65,537 bytes", "/logs", {"message": "x" * 65537}, 422, "out_of_range", "/message"),
    ("an unknown level", "/logs", {**GOOD, "level": "LOUD"}, 422, "out_of_range", "/level"),
    ("attributes that are a list", "/logs", {**GOOD, "attributes": [1]}, 422, "wrong_type", "/attributes"),
    ("attributes of 20,000 bytes", "/logs", {**GOOD, "attributes": {"a": "x" * 20000}}, 422, "out_of_range",
     "/attributes"),
    ("an id that is no UUID", "/logs", {**GOOD, "id": "17"}, 422, "bad_format", "/id"),
    ("a duplicate key", "/logs", b'{"message":"a","message":"b"}', 422, "duplicate_key", "/message"),
    ("a duplicate key inside", "/logs", b'{"message":"a","attributes":{"k":1,"k":2}}', 422, "duplicate_key",
     "/attributes/k"),
    ("a missing site", "/readings", {k: v for k, v in reading("s").items() if k != "site_id"}, 422,
     "missing_field", "/site_id"),
    ("an empty site", "/readings", reading(""), 422, "out_of_range", "/site_id"),
    ("a site of 129 bytes", "/readings", reading("x" * 129), 422, "out_of_range", "/site_id"),
    ("power as text", "/readings", reading("s", power_reading="12"), 422, "wrong_type", "/power_reading"),
    ("power NaN", "/readings", reading("s", power_reading=math.nan), 400, "json_syntax", None),
    ("power Infinity", "/readings", reading("s", power_reading=math.inf), 400, "json_syntax", None),
    ("power 1e999", "/readings", raw(reading("s")).replace(b"1500.5", b"1e999"), 422, "out_of_range",
     "/power_reading"),
    ("power out of range", "/readings", reading("s", power_reading=1e10), 422, "out_of_range", "/power_reading"),
    ("a time without a zone", "/readings", reading("s", timestamp="2026-01-02T03:04:05"), 422, "bad_format",
     "/timestamp"),
    ("a day that is not", "/readings", reading("s", timestamp="2026-02-30T00:00:00Z"), 422, "bad_format",
     "/timestamp"),
    ("a time as a number", "/readings", reading("s", timestamp=1700000000), 422, "wrong_type", "/timestamp"),
    ("a time before 1970", "/readings", reading("s", timestamp="1969-12-31T23:59:59Z"), 422, "out_of_range",
     "/timestamp"),
]


@pytest.mark.parametrize("path, body, status, code, pointer", [row[1:] for row in BODIES],
                         ids=[row[0] for row in BODIES])
def test_a_bad_body_is_refused(untouched, path, body, status, code, pointer):
    problem(untouched.post(path, raw(body)), status, code, pointer)


@pytest.mark.parametrize("method, path, status, allow", [
    ("GET", "/nowhere", 404, None),
    ("POST", "/", 405, {"GET", "HEAD"}),
    ("POST", "/logs/1", 404, None),
    ("GET", "/../etc/passwd", 404, None),
    ("GET", "/logs", 405, {"POST"}),
    ("DELETE", "/readings", 405, {"POST"}),
    ("PUT", "/logs", 405, {"POST"}),
    ("POST", "/send", 405, {"GET"}),
])
def test_a_wrong_path_or_method_is_refused(untouched, method, path, status, allow):
    answer = untouched.ingestion.request(method, path)
    problem(answer, status)
    if allow:
        assert allow <= {word.strip() for word in answer.headers["Allow"].split(",")}


@pytest.mark.parametrize("headers, name", [
    ({"ce_id": "", "ce_source": "/tests"}, "an empty id"),
    ({"ce_specversion": "2.0"}, "another version"),
    ({"ce_source": None}, "no source"),
    ({"ce_id": None}, "no id"),
    ({"ce_type": None}, "no type"),
    ({"ce_time": "yesterday"}, "a bad time"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_cloudevent_without_what_it_needs_is_refused(untouched, headers, name):
    fields = {k: v for k, v in cloudevent_headers(**headers).items() if v is not None}
    problem(untouched.post("/logs", GOOD, **fields), 422)


@pytest.mark.parametrize("event, pointer", [
    ({"id": "1", "source": "/t", "type": "millrace.v1.Log", "data": GOOD}, "/specversion"),
    ({"specversion": "1.0", "source": "/t", "type": "millrace.v1.Log", "data": GOOD}, "/id"),
    ({"specversion": "1.0", "id": "1", "source": "/t", "type": "millrace.v1.Log", "data": {"message": 1}},
     "/data/message"),
])
def test_a_bad_structured_cloudevent_is_refused_with_its_pointer(untouched, event, pointer):
    problem(untouched.post("/logs", event, Content_Type="application/cloudevents+json"), 422, None, pointer)


@pytest.mark.parametrize("key", ["", "x" * 256, "two words", "ümlaut".encode()], ids=["empty", "256", "space", "not ASCII"])
def test_a_bad_idempotency_key_is_refused(untouched, key):
    problem(untouched.post("/logs", GOOD, Idempotency_Key=key), 422, "invalid_idempotency_key")


def test_one_bad_line_of_a_thousand_does_not_disturb_its_neighbours(stack):
    service = unique("service")
    events = [{"service": service, "message": "line %d" % i} for i in range(1000)]
    events[500] = {"service": service}
    answer = stack.post("/logs", events)
    assert answer.status_code == 207
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["line"] for line in lines] == list(range(1, 1001))
    assert [line["line"] for line in lines if line["status"] != 201] == [501]
    assert (lines[500]["status"], lines[500]["code"], lines[500]["pointer"]) == (422, "missing_field", "/message")
    until(lambda: stack.count("logs", "service = %s", service) == 999, 10, "the 999 others are stored")


def test_bulk_bodies_of_nothing_but_mistakes_have_the_common_status(untouched):
    assert untouched.post("/logs", [{"message": 1}, {"message": 2}]).status_code == 422
    assert untouched.post("/logs", b"no\nnope\n", Content_Type="application/x-ndjson").status_code == 400
    assert untouched.post("/logs", b"\n\n", Content_Type="application/x-ndjson").status_code in (400, 422)


QUERIES = [
    ("/logs?limit=0", "/query/limit"),
    ("/logs?limit=1001", "/query/limit"),
    ("/logs?limit=-5", "/query/limit"),
    ("/logs?limit=ten", "/query/limit"),
    ("/logs?limit=99999999999999999999", "/query/limit"),
    ("/logs?from_timestamp=yesterday", "/query/from_timestamp"),
    ("/logs?from_timestamp=nan", "/query/from_timestamp"),
    ("/logs?level=LOUD", "/query/level"),
    ("/logs?from=2026-01-01", "/query/from"),
    ("/logs?cursor=abc", "/query/cursor"),
    ("/sites/a/readings?limit=0", "/query/limit"),
    ("/sites/a/readings?to=2026-01-01T00:00:00", "/query/to"),
    ("/sites/a/readings?cursor=====", "/query/cursor"),
    ("/sites/a/stats?bucket=minute", "/query/bucket"),
    ("/sites/%s/readings" % ("x" * 200), "/path/site_id"),
]


@pytest.mark.parametrize("path, pointer", QUERIES)
def test_a_bad_query_is_refused(stack, path, pointer):
    problem(stack.api.get(path), 422, None, pointer)


def test_a_cursor_of_another_list_is_refused(stack):
    site = unique()
    assert stack.post("/readings", [reading(site), reading(site)]).status_code == 201
    page = until(lambda: stack.get("/sites/%s/readings" % site, limit=1)["next"], 10, "a page with a next")
    problem(stack.api.get("/logs", params={"cursor": page}), 422, "invalid_cursor", "/query/cursor")


@pytest.mark.parametrize("text", ["'; DROP TABLE logs; --", "%' OR 1=1 --", "\\", "%00", "\u2603" * 40])
def test_text_in_a_query_is_only_text(stack, text):
    assert stack.get("/logs", q=text, service=text)["logs"] == []
    assert stack.count("logs") >= 0


@pytest.mark.parametrize("query", ["q=a%00b", "q=%ff", "service=%c0%af"])
def test_a_query_that_is_no_text_is_refused(stack, query):
    assert stack.api.says("/logs?" + query) in (400, 422)


def test_an_unknown_consumer_is_not_found(stack):
    problem(stack.api.get("/consumers/nobody/lag"), 404)


# ---- below HTTP ----


def dialogue(service, data, seconds=3):
    """What the service answers to these bytes; b"" when it only closes."""
    answer = b""
    with socket.create_connection(("127.0.0.1", service.port), seconds) as client:
        try:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            while chunk := client.recv(65536):
                answer += chunk
        except OSError:  # it hung up, or waits for more
            pass
    return answer


def lie(length, *more):
    head = ["POST /logs HTTP/1.1", "Host: x", "Content-Type: application/json", *more]
    if length is not None:
        head.insert(1, "Content-Length: %s" % length)
    return "\r\n".join(head).encode() + b"\r\n\r\n" + b'{"message":"lie"}'


GARBAGE = {
    "random bytes": os.urandom(4096),
    "zeros": bytes(4096),
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(300),
    "no method": b"\r\n\r\n\r\n",
    "a long line": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
    "many headers": b"GET /livez HTTP/1.1\r\nHost: x\r\n" + b"".join(b"h%d: v\r\n" % i for i in range(20000)) + b"\r\n",
    "another version": b"POST /logs HTTP/9.9\r\nHost: x\r\nContent-Length: 17\r\n\r\n" + b'{"message":"lie"}',
    "a length that is too long": lie(1000),
    "a length that is too short": lie(5),
    "a negative length": lie(-1),
    "a length that is no number": lie("17x"),
    "an endless length": lie("99999999999999999999999"),
    "two lengths": lie(17, "Content-Length: 5"),
    "a length and chunks": lie(17, "Transfer-Encoding: chunked"),
    "bad chunks": lie(None, "Transfer-Encoding: chunked"),
    "an unknown coding": lie(17, "Transfer-Encoding: gzip"),
    "a NUL in a header": lie(17, "X-A: b\x00c"),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_on_the_socket_stores_nothing(untouched, data):
    answer = dialogue(untouched.ingestion, data)
    assert b" 500 " not in answer.split(b"\r\n")[0], answer[:200]
    assert b"HTTP/1.1 201" not in answer, answer[:200]


def test_slow_clients_are_cut_off_and_disturb_nobody(untouched):
    """Each sends a byte now and then, so that no time-out between bytes helps."""

    def drip(number):
        begun = time.monotonic()
        with socket.create_connection(("127.0.0.1", untouched.ingestion.port), 5) as client:
            client.settimeout(0.4)
            for byte in b"POST /logs HTTP/1.1\r\nHost: x\r\nX-Slow: " + b"a" * 200:
                try:
                    client.sendall(bytes([byte]))
                    if not client.recv(4096):
                        return time.monotonic() - begun
                except TimeoutError:
                    pass
                except ConnectionError:
                    return time.monotonic() - begun
                if time.monotonic() - begun > 25:
                    return None
        return None

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        slow = [pool.submit(drip, i) for i in range(40)]
        until(lambda: untouched.ingestion.metric("process_open_fds") > 40, 5, "they are all connected")
        begun = time.monotonic()
        assert all(untouched.ingestion.get("/livez").status_code == 200 for _ in range(20))
        assert time.monotonic() - begun < 2, "others are served meanwhile"
        times = [done.result() for done in slow]
    assert None not in times, "every slow client is cut off"
    assert max(times) < 15
