"""Things are killed, frozen and stopped; what was acknowledged is stored exactly once all the same."""

import collections
import itertools
import json
import os
import random
import signal
import threading
import time
import uuid

import pytest

from events import now, unique
from stack import STREAMS, Connection, Stack, until

LOAD_S = 20  # of kills under load
CLIENTS = 4


class Load(threading.Thread):
    """One client. Every event carries a token of its own; `acked` has what was answered with 2xx.

    retry: what was not answered with 2xx is sent again, with the same id in the body or the same
    Idempotency-Key, until it is. Otherwise it is forgotten, and may or may not have been stored.
    """

    def __init__(self, stack, seed, retry):
        super().__init__(daemon=True)
        self.random, self.retry = random.Random(seed), retry
        self.client = Connection(stack.ingestion, timeout=8)
        self.prefix, self.numbers = "%d-" % seed, itertools.count()
        self.acked, self.tokens = {}, set()  # id -> token
        self.statuses = collections.Counter()
        self.enough = threading.Event()
        self.error = None

    def run(self):
        try:
            while not self.enough.is_set():
                self.one_request()
        except Exception as err:  # told by the main thread
            self.error = err

    def event(self, table):
        token = self.prefix + str(next(self.numbers))
        self.tokens.add(token)
        event = {"timestamp": now()}
        if table == "logs":
            event.update(message=token, service="load")
            if self.random.random() < 0.5:
                del event["timestamp"]
        else:
            event.update(site_id="load", device_id=token, power_reading=1)
        return token, event

    def one_request(self):
        table = self.random.choice(["logs", "readings"])
        count = self.random.choice([1, 1, 1, 1, 1, 30])
        made = [self.event(table) for _ in range(count)]
        headers = {}
        if self.retry and self.random.random() < 0.5:
            headers["Idempotency-Key"] = made[0][0]
        elif self.retry:
            for _, event in made:
                event["id"] = str(uuid.uuid4())
        body = "\n".join(json.dumps(event) for _, event in made)
        kind = "application/json" if count == 1 else "application/x-ndjson"
        end = time.monotonic() + 60
        while not self.send("/" + table, body, kind, headers, made) and self.retry:
            assert time.monotonic() < end, "not accepted in 60 s: %s" % self.statuses
            self.enough.wait(0.05)  # a client's pause between tries

    def send(self, path, body, kind, headers, made):
        """True when every event of the request was accepted."""
        status, answer = self.client.post(path, body, kind, headers)
        self.statuses[status] += 1
        assert status in (0, 201, 207, 503, 504), "%d %r" % (status, answer[:300])
        if status not in (201, 207):
            return False
        lines = [json.loads(line) for line in answer.splitlines()] if "ndjson" in kind else \
            [{**json.loads(answer), "line": 1, "status": status}]
        for line in lines:
            if line["status"] == 201:
                self.acked[line["id"]] = made[line["line"] - 1][0]
        return all(line["status"] == 201 for line in lines)


def kill_at_random(stack, chance, seconds):
    """kill -9 of one after the other; each comes back after a moment."""
    kills, end, pause = collections.Counter(), time.monotonic() + seconds, threading.Event()
    while time.monotonic() < end:
        pause.wait(chance.uniform(0.2, 1.5))
        victim = chance.choice([stack.processor, stack.ingestion, stack.broker, stack.postgres])
        kills[victim.name] += 1
        victim.kill()
        pause.wait(chance.uniform(0, 1))
        victim.start()
    return kills


def reconcile(stack, loads):
    """Every acknowledged id is stored once, nothing is stored twice, and nothing that was not sent."""
    acked = {id_: token for load in loads for id_, token in load.acked.items()}
    tokens = set().union(*(load.tokens for load in loads))
    rows = [(str(id_), token) for id_, token in
            stack.query("SELECT id, message FROM logs UNION ALL SELECT id, device_id FROM readings")]
    ids = collections.Counter(id_ for id_, _ in rows)
    stored = collections.Counter(token for _, token in rows)
    print("sent %d events, acknowledged %d, stored %d (%d of them unacknowledged)"
          % (len(tokens), len(acked), len(rows), len(rows) - len(set(ids) & set(acked))))
    print("answers:", dict(sum((load.statuses for load in loads), collections.Counter())))

    lost = [(id_, token) for id_, token in acked.items() if id_ not in ids]
    assert not lost, "%d acknowledged events are not stored: %s" % (len(lost), lost[:5])
    twice = [token for token, count in stored.items() if count > 1]
    assert not twice, "%d events are stored more than once: %s" % (len(twice), twice[:5])
    assert [id_ for id_, token in rows if acked.get(id_, token) != token] == []
    assert set(stored) <= tokens
    assert stack.dead_letters() == []


@pytest.mark.parametrize("retry", [False, True], ids=["clients that give up", "clients that retry"])
def test_kills_at_random_moments_lose_nothing_and_double_nothing(new_stack, retry):
    seed = int(os.environ.get("MILLRACE_SEED", random.SystemRandom().randrange(10**6)))
    print("MILLRACE_SEED=%d" % seed)
    stack = new_stack({"all": {"ACK_WAIT_MS": "3000"}, "ingestion": {"REQUEST_TIMEOUT_MS": "4000"},
                       "processor": {"BATCH_ROWS": "200"}})
    loads = [Load(stack, seed * 10 + i, retry) for i in range(CLIENTS)]
    for load in loads:
        load.start()
    print("kills:", dict(kill_at_random(stack, random.Random(seed), LOAD_S)))
    stack.wait_ready()
    for load in loads:
        load.enough.set()
    for load in loads:
        load.join(70)
        assert not load.is_alive() and load.error is None, load.error
    stack.wait_settled(40)
    reconcile(stack, loads)


@pytest.mark.only("nats")
def test_members_of_a_cluster_are_killed_in_turn(template):
    """The next one is killed when the last is back and has everything again."""
    stack = Stack(template, "cluster", {"all": {"STREAM_REPLICAS": "3", "ACK_WAIT_MS": "3000"},
                                        "ingestion": {"REQUEST_TIMEOUT_MS": "4000"},
                                        "processor": {"BATCH_ROWS": "200"}})
    try:
        stack.start()
        loads = [Load(stack, i, True) for i in range(CLIENTS)]
        for load in loads:
            load.start()
        for member in stack.broker.members:
            before = sum(len(load.acked) for load in loads)
            member.kill()
            until(lambda: sum(len(load.acked) for load in loads) > before + 500, 30, "events go on without " + member.name)
            member.start()
            until(lambda: all(stack.broker.is_whole(name) for name in STREAMS), 40,
                  "%s has everything again" % member.name)
        for load in loads:
            load.enough.set()
        for load in loads:
            load.join(70)
            assert not load.is_alive() and load.error is None, load.error
        stack.wait_settled(40)
        reconcile(stack, loads)
    finally:
        bad = stack.close()
    assert not bad


# ---- the broker is away ----


def refused_in_time(stack, limit_s):
    begun = time.monotonic()
    answer = stack.post("/logs", {"message": "while the broker is away"}, timeout=30)
    took = time.monotonic() - begun
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.headers["Content-Type"].startswith("application/problem+json")
    assert took < limit_s, "a request hung for %.1f s" % took
    return took


@pytest.mark.parametrize("how", ["frozen", "killed"])
def test_without_the_broker_clients_get_503_in_time_and_it_recovers_by_itself(new_stack, how):
    stack = new_stack({"all": {"ACK_WAIT_MS": "3000"}, "ingestion": {"REQUEST_TIMEOUT_MS": "3000"}})
    accepted = [stack.post("/logs", {"message": "before"}).json()["id"]]
    if how == "frozen":
        stack.broker.send(signal.SIGSTOP)
    else:
        stack.broker.kill()
    times = [refused_in_time(stack, 4) for _ in range(4)]
    print("seconds until 503:", ["%.2f" % took for took in times])
    begun = time.monotonic()
    bulk = stack.post("/logs", [{"message": "bulk"}] * 10, timeout=30)
    assert bulk.status_code == 503 and time.monotonic() - begun < 4, bulk.text
    assert int(bulk.headers["Retry-After"]) > 0
    until(lambda: not stack.ingestion.is_ready(), 10, "ingestion is not ready")
    assert stack.ingestion.says("/livez") == 200, "being without a broker is no reason for a restart"
    health = stack.ingestion.get("/health")
    assert health.status_code == 503
    assert health.json() == {"status": "unhealthy", "broker": "disconnected", "redis": "disconnected"}

    if how == "frozen":
        stack.broker.send(signal.SIGCONT)
    else:
        stack.broker.start()

    def accepts():
        answer = stack.post("/logs", {"message": "after"})
        if answer.status_code == 201:
            accepted.append(answer.json()["id"])
        return answer.status_code == 201

    back = time.monotonic()
    until(accepts, 15, "ingestion accepts events again")
    print("seconds until events are accepted again: %.2f" % (time.monotonic() - back))
    stack.wait_ready()
    print("and until all is ready: %.2f" % (time.monotonic() - back))
    stack.wait_settled()
    stored = {str(row[0]) for row in stack.query("SELECT id FROM logs")}
    assert set(accepted) <= stored
    assert stack.ingestion.get("/health").json() == {"status": "healthy", "broker": "connected", "redis": "connected"}


def test_a_full_stream_is_503_and_not_a_loss(new_stack):
    stack = new_stack({"all": {"STREAM_MAX_BYTES": "1048576"}})
    assert stack.processor.stop() == 0
    accepted = []
    for i in range(40):
        answer = stack.post("/logs", {"message": "x" * 60_000, "service": "s%d" % i})
        if answer.status_code != 201:
            break
        accepted.append(answer.json()["id"])
    assert answer.status_code == 503 and int(answer.headers["Retry-After"]) > 0, answer.text
    assert answer.json()["code"] == "stream_full"
    assert len(accepted) >= 10
    stack.processor.start().wait_ready()
    until(lambda: stack.post("/logs", {"message": "there is room again"}).status_code == 201, 30,
          "the stream has room again")
    stack.wait_settled()
    stored = {str(row[0]) for row in stack.query("SELECT id FROM logs")}
    assert set(accepted) <= stored


# ---- the database is away ----


def test_an_absent_database_costs_no_event_and_no_attempt(new_stack):
    """Longer than three leases, with only two attempts allowed."""
    stack = new_stack({"all": {"ACK_WAIT_MS": "4000", "MAX_ATTEMPTS": "2"}})
    service, accepted = unique("service"), []

    def send(count):
        for i in range(count):
            answer = stack.post("/logs", {"message": "m%d" % i, "service": service})
            assert answer.status_code == 201, answer.text
            accepted.append(answer.json()["id"])

    send(50)
    stack.postgres.stop()
    begun = time.monotonic()
    send(300)
    until(lambda: not stack.processor.is_ready(), 10, "the processor is not ready")
    assert stack.processor.says("/livez") == 200
    assert stack.api.says("/logs") == 503
    assert stack.api.says("/livez") == 200
    until(lambda: time.monotonic() - begun > 15 or not stack.processor.is_running(), 20, "the outage has lasted 15 s")
    assert not stack.processor.is_ready()
    send(50)
    stack.postgres.start()
    stack.wait_ready()
    stack.wait_settled()
    stored = [str(row[0]) for row in stack.query("SELECT id FROM logs WHERE service = %s", service)]
    assert sorted(stored) == sorted(accepted)
    assert stack.dead_letters() == []
    with stack.wire() as wire:
        assert wire.redelivered("LOGS", "processor-logs") == 0
    assert stack.processor.metric("broker_redelivered_messages_total") == 0
    until(lambda: stack.api.says("/logs") == 200, 10, "the api answers again")


def test_everything_may_start_in_any_order(new_stack):
    """The services come before the servers and wait for them."""
    stack = new_stack()
    for process in stack.processes:
        process.stop()
    for service in stack.services:
        service.start()
    for service in stack.services:
        until(lambda: service.says("/livez") == 200, 10, "%s is alive" % service.name)
        assert not service.is_ready()
    stack.broker.start()
    stack.postgres.start()
    stack.wait_ready()
    assert stack.post("/logs", {"message": "hello"}).status_code == 201
    until(lambda: stack.count("logs") == 1, 10, "the event is stored")
