"""What who runs it relies on: settings, readiness, metrics, draining, retention, logs."""

import json
import re
import signal
import subprocess
import threading
import time

import pytest

from events import now, reading, unique
from stack import BIN, STOP_S, Connection, until

PROGRAMS = ["ingestion", "processor", "responder", "writer", "api"]


def run(program, *arguments, **env):
    return subprocess.run([BIN / program, *arguments], env={"PATH": "/usr/bin:/bin", **env}, timeout=10,
                          capture_output=True, text=True)


# ---- settings ----


@pytest.mark.parametrize("program", PROGRAMS)
def test_help_prints_the_settings(program):
    done = run(program, "--help")
    assert done.returncode == 0
    for name in ("HOST", "PORT", "LOG_LEVEL", "LOG_FORMAT", "LOG_DIR" if program == "writer" else "BROKER_URL"):
        assert name in done.stdout, name


@pytest.mark.parametrize("program", PROGRAMS)
def test_version(program):
    done = run(program, "--version")
    assert done.returncode == 0 and re.search(r"\d+\.\d+\.\d+", done.stdout)


@pytest.mark.parametrize("program", PROGRAMS)
def test_all_mistakes_in_the_settings_are_told_at_once(program):
    done = run(program, PORT="many", LOG_LEVEL="loud", DATABASE_URL="postgresql://127.0.0.1/x")
    assert done.returncode == 2
    assert "PORT" in done.stderr and "LOG_LEVEL" in done.stderr


def test_an_unknown_broker_is_an_error():
    done = run("ingestion", BROKER_URL="carrier-pigeon://loft", PORT="0")
    assert done.returncode != 0 and "carrier-pigeon" in done.stderr


def test_a_secret_from_a_file_is_never_shown(stack, tmp_path):
    path = tmp_path / "url"
    path.write_text("postgresql://millrace:hunter2@127.0.0.1:1/nowhere\n")
    process = subprocess.Popen([BIN / "processor"], stderr=subprocess.PIPE, text=True,
                               env={"DATABASE_URL_FILE": str(path), "PORT": "0", "LOG_LEVEL": "debug",
                                    "BROKER_URL": stack.broker.url})
    try:
        lines = []
        while not any('"waiting"' in line for line in lines):
            lines.append(process.stderr.readline())
            assert lines[-1], "it ended: %s" % lines
    finally:
        process.terminate()
        rest = process.communicate(timeout=10)[1]
    assert process.returncode == 0
    assert "hunter2" not in "".join(lines) + rest


def test_port_0_is_any_port_and_is_logged(stack):
    process = subprocess.Popen([BIN / "ingestion"], stderr=subprocess.PIPE, text=True,
                               env={"PORT": "0", "BROKER_URL": stack.broker.url})
    try:
        facts = {}
        while facts.get("message") != "listening":
            facts = json.loads(process.stderr.readline())
        assert facts["port"] > 0 and facts["level"] == "INFO" and facts["service"] == "ingestion"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", facts["timestamp"])
    finally:
        process.terminate()
        process.communicate(timeout=10)
    assert process.returncode == 0


# ---- health and metrics ----


FIRST_CHECK = {"writer": "file"}


def test_health_endpoints(stack):
    for service in stack.services:
        assert service.get("/livez").status_code == 200
        verbose = service.get("/readyz?verbose")
        assert verbose.status_code == 200 and "[+]%s ok" % FIRST_CHECK.get(service.name, "broker") in verbose.text
    assert stack.ingestion.get("/health").json() == {"status": "healthy", "broker": "connected", "redis": "connected"}
    assert stack.api.get("/health").json() == {"status": "healthy", "broker": "connected", "redis": "connected",
                                               "database": "connected"}
    assert stack.ingestion.request("HEAD", "/health").text == ""


EVERYWHERE = ["http_requests_total", "http_request_duration_seconds_bucket", "process_cpu_seconds_total",
              "process_resident_memory_bytes", "process_working_set_bytes", "process_num_threads"]
METRICS = {
    "ingestion": ["broker_connected", "broker_published_messages_total", "broker_circuit_state", "redis_circuit_state",
                  "ingress_pending_requests", "weather_requests_total", "weather_request_duration_seconds_bucket"],
    "processor": ["broker_connected", "broker_consumer_lag", "redis_stream_queue_depth", "store_rows_total",
                  "store_batch_rows_bucket", "event_latency_seconds_bucket", "broker_dead_letters_total",
                  "store_circuit_state", "post_request_latency_seconds", "parking_sessions_total", "parking_occupancy",
                  "delivery_circuit_state"],
    "responder": ["broker_connected", "proxy_active_terminals", "redis_stream_queue_depth", "weather_requests_total",
                  "weather_request_duration_seconds_bucket"],
    "writer": ["request_latency_seconds_sum", "request_latency_seconds_count", "writer_lines_total"],
    "api": ["broker_connected"],
}


@pytest.mark.parametrize("program", METRICS)
def test_metrics_are_there_and_well_formed(stack, program):
    [service] = stack.all[program]
    stack.post("/logs", {"message": "for the metrics"})
    stack.post("/parking/entries", {"vehicle_plate": "METRIC-1"})
    stack.post("/WeatherForecast/city", {"city": "Metrics"})
    stack.wait_settled()
    service.get("/livez")
    answer = service.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    names = {name for name, _, _ in service.metrics()}
    until(lambda: set(EVERYWHERE + METRICS[program]) <= {name for name, _, _ in service.metrics()}, 10,
          "all metrics are there; missing: %s" % (set(EVERYWHERE + METRICS[program]) - names))
    cells = [(name, tuple(sorted(labels.items()))) for name, labels, _ in service.metrics()]
    assert len(cells) == len(set(cells)), "a cell twice"
    types = re.findall(r"^# TYPE (\S+) (\w+)$", answer.text, re.M)
    assert len(types) == len({name for name, _ in types}), "a family twice"
    for name, kind in types:
        assert (kind == "counter") <= name.endswith("_total"), name
        assert re.search(r"^# HELP %s \S" % name, answer.text, re.M), name


def test_requests_are_counted_by_route_and_not_by_path(stack):
    labels = {"path": "/sites/{site_id}/readings", "method": "GET", "status": "200"}
    before = stack.api.metric("http_requests_total", **labels) or 0
    for _ in range(3):
        stack.get("/sites/%s/readings" % unique())
    assert stack.api.metric("http_requests_total", **labels) == before + 3
    paths = {have["path"] for name, have, _ in stack.api.metrics() if name == "http_requests_total"}
    assert not any("site-" in path for path in paths)


def test_events_are_counted(stack):
    published = stack.ingestion.metric("broker_published_messages_total")
    rows = stack.processor.metric("store_rows_total", topic="readings")
    assert stack.post("/readings", reading(unique())).status_code == 201
    stack.wait_settled()
    assert stack.ingestion.metric("broker_published_messages_total") == published + 1
    assert stack.processor.metric("store_rows_total", topic="readings") == rows + 1


# ---- CORS ----


def test_only_the_listed_origins_may_ask(new_stack):
    stack = new_stack({"ingestion": {"CORS_ORIGINS": "https://a.example,https://b.example"},
                       "api": {"CORS_ORIGINS": "https://a.example"}})
    for service in (stack.ingestion, stack.api):
        allowed = service.get("/health", headers={"Origin": "https://a.example"})
        assert allowed.headers["Access-Control-Allow-Origin"] == "https://a.example"
        assert "Origin" in allowed.headers["Vary"]
        refused = service.get("/health", headers={"Origin": "https://evil.example"})
        assert "Access-Control-Allow-Origin" not in refused.headers
    asked = stack.ingestion.request("OPTIONS", "/readings", headers={
        "Origin": "https://b.example", "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type"})
    assert asked.status_code in (200, 204)
    assert "POST" in asked.headers["Access-Control-Allow-Methods"]
    assert "content-type" in asked.headers["Access-Control-Allow-Headers"].lower()


# ---- draining ----


def test_sigterm_under_load_drains_and_loses_nothing(new_stack):
    """Each service in turn, while clients send; whatever was accepted is stored."""
    stack = new_stack({"all": {"ACK_WAIT_MS": "3000"}})
    accepted, enough = [], threading.Event()

    def client():
        connection = Connection(stack.ingestion, timeout=8)
        while not enough.is_set():
            status, body = connection.post("/logs", b'{"message":"drain"}')
            assert status in (0, 201, 503), status
            if status == 201:
                accepted.append(json.loads(body)["id"])

    threads = [threading.Thread(target=client, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    for service in (stack.processor, stack.ingestion, stack.api):
        seen = len(accepted)
        until(lambda: len(accepted) > seen + 50, 10, "load is running")
        begun = time.monotonic()
        assert service.stop(signal.SIGTERM, STOP_S) == 0
        print("%s drained in %.2f s" % (service.name, time.monotonic() - begun))
        assert time.monotonic() - begun < 5
        service.start().wait_ready()
    enough.set()
    for thread in threads:
        thread.join(10)
    stack.wait_settled()
    stored = [str(row[0]) for row in stack.query("SELECT id FROM logs")]
    assert set(accepted) <= set(stored) and len(stored) == len(set(stored))
    assert stack.dead_letters() == []


def test_sigterm_ends_services_whose_servers_are_gone(new_stack):
    stack = new_stack()
    assert stack.post("/logs", {"message": "waits"}).status_code == 201
    stack.postgres.kill()
    assert stack.post("/logs", {"message": "waits too"}).status_code == 201
    stack.broker.send(signal.SIGSTOP)
    for service in stack.services:
        begun = time.monotonic()
        code = service.stop(signal.SIGTERM, STOP_S)
        print("%s ended in %.2f s with %d" % (service.name, time.monotonic() - begun, code))
        assert code == 0, service.name
    stack.broker.send(signal.SIGCONT)


# ---- housekeeping ----


def test_what_is_past_its_retention_is_dropped(new_stack):
    stack = new_stack({"processor": {"RETENTION_DAYS": "30"}})
    site = unique()
    times = [now(), now(days=2), now(days=20)]
    assert stack.post("/readings", [reading(site, timestamp=t) for t in times]).status_code == 201
    stack.wait_settled()
    assert stack.count("readings") == 3
    stack.execute("UPDATE readings SET stored_at = timestamp")  # as if they had come when they happened
    assert stack.processor.stop() == 0
    stack.processor.env["RETENTION_DAYS"] = "7"
    stack.processor.start().wait_ready()
    until(lambda: stack.count("readings") == 2, 10, "the oldest is dropped")
    assert stack.query("SELECT min(timestamp) > now() - interval '3 days' FROM readings") == [(True,)]


def test_settled_events_leave_the_stream_when_their_time_is_up(new_stack):
    stack = new_stack({"processor": {"STREAM_KEEP_S": "1"}})
    for i in range(20):
        assert stack.post("/logs", {"message": "m%d" % i}).status_code == 201
    with stack.wire() as wire:
        until(lambda: wire.count("LOGS") == 0, 20, "the stream is trimmed")
    assert stack.count("logs") == 20


def test_nothing_unread_is_trimmed(new_stack):
    stack = new_stack({"processor": {"STREAM_KEEP_S": "1", "PROCESSOR_TOPICS": "readings"}})
    assert stack.post("/logs", {"message": "nobody reads this yet"}).status_code == 201
    assert stack.post("/readings", reading("s")).status_code == 201
    with stack.wire() as wire:
        until(lambda: wire.count("READINGS") == 0, 20, "the readings are trimmed")
        assert wire.count("LOGS") == 1


def test_every_log_line_is_a_json_fact(stack):
    for service in stack.services:
        lines = service.log.read_text().splitlines()
        assert lines
        for line in lines:
            fact = json.loads(line)
            assert list(fact)[:4] == ["timestamp", "level", "service", "message"], line
            assert fact["level"] == fact["level"].upper() and fact["service"] == service.name
