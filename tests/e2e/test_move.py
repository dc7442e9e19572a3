"""`millrace move`: what one broker's consumers have not settled goes to another, each event once."""

import concurrent.futures
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import tempfile

import pytest

from events import unique
from ports import free_ports
from stack import BIN, BROKERS, Connection, Stack, until
from test_command_line import AWAY, DONE, INHERITED, REFUSED, USAGE, WRONG, rows

# Each goes from one to the other, whatever --broker says.
pytestmark = pytest.mark.only("nats")
DIRECTIONS = pytest.mark.parametrize("kinds", [("nats", "redis"), ("redis", "nats")], ids="-to-".join)
CLIENTS = 4
LINES = 25  # of a bulk body


class Old(Stack):
    """A stack, and beside it the broker that it is to move to: `new`."""

    def __init__(self, template, kinds, settings):
        super().__init__(template, kinds[0], settings)
        self.there = pathlib.Path(tempfile.mkdtemp(prefix="millrace-e2e-"))
        self.there.chmod(0o755)
        self.new = BROKERS[kinds[1]](self.there, free_ports(1)[0]).start()

    def start(self):
        super().start()
        until(self.new.answers, 20, "the other broker answers")
        return self

    def close(self):
        self.new.stop()
        shutil.rmtree(self.there, ignore_errors=True)
        return super().close()

    def arguments(self, *more):
        return [BIN / "millrace", "move", "--from", self.broker.url, "--to", self.new.url, *more]

    def move(self, *more, code=DONE, says=""):
        """Its rows, by stream."""
        done = subprocess.run(self.arguments("--json", *more), env=INHERITED, capture_output=True, timeout=60)
        assert done.returncode == code, (done.stdout, done.stderr)
        assert says in done.stderr.decode(), done.stderr
        return {row["stream"]: row for row in map(json.loads, done.stdout.splitlines())}

    def move_processor(self):
        self.processor.env["BROKER_URL"] = self.new.url
        self.processor.start().wait_ready()

    def left(self, broker):
        with broker.wire() as wire:
            return sum(wire.outstanding(*group) for group in
                       (("LOGS", "processor-logs"), ("READINGS", "processor-readings")))

    def wait_stored(self):
        until(lambda: self.left(self.new) == 0, 40, "the new broker's consumers have settled everything")
        assert self.left(self.broker) == 0


@pytest.fixture
def old(template, request):
    """old(kinds, settings) starts one."""
    stacks = request.node.stacks = []

    def make(kinds, **settings):
        stacks.append(Old(template, kinds, {"all": settings}))
        return stacks[-1].start()

    yield make
    bad = [line for stack in stacks for line in stack.close()]
    assert not bad


class Terminal:
    """A move whose stderr is a terminal: `moved` and `total` are what it shows there."""

    def __init__(self, stack, *more):
        self.terminal, theirs = pty.openpty()
        self.process = subprocess.Popen(stack.arguments(*more), env=INHERITED, stdout=subprocess.PIPE, stderr=theirs)
        os.close(theirs)
        self.shown, self.moved, self.total = "", 0, 0

    def read(self):
        """False once it has ended."""
        try:
            piece = os.read(self.terminal, 4096).decode()
        except OSError:
            return False
        self.shown += piece
        for moved, total in re.findall(r"moved (\d+)(?: of (\d+))?,", self.shown[-1000:]):
            self.moved, self.total = int(moved), int(total or 0)
        return True

    def until_moved(self, count):
        while self.moved < count and self.read():
            continue
        return self

    def end(self, number=None):
        """Its exit code and what it wrote; number: a signal that it gets before."""
        if number:
            self.process.send_signal(number)
        while self.read():
            continue
        os.close(self.terminal)
        out, _ = self.process.communicate(timeout=30)
        return self.process.returncode, out.decode()


def body(name, numbers):
    return b"".join(b'{"service":"moving","message":"%s %d"}\n' % (name.encode(), i) for i in numbers)


def send_share(stack, bodies):
    connection = Connection(stack.ingestion)
    for lines in bodies:
        kind = "application/x-ndjson" if lines.count(b"\n") > 1 else "application/json"
        status, answer = connection.post("/logs", lines, kind)
        assert status in (200, 201), (status, answer)
    connection.close()


def send(stack, name, first, count, lines=LINES):
    """So many events, numbered from first, in bodies of so many lines; all are accepted."""
    bodies = [body(name, range(i, min(i + lines, first + count))) for i in range(first, first + count, lines)]
    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(send_share, stack, bodies[i::CLIENTS]) for i in range(CLIENTS)]:
            done.result()


def check_stored(stack, name, count):
    """Each accepted event exactly once."""
    found = stack.query("SELECT count(*), count(DISTINCT message) FROM logs WHERE message LIKE %s", name + " %")[0]
    assert found == (count, count)


def bury(stack, count):
    with stack.wire() as wire:
        for i in range(count):
            wire.publish("logs.nonsense", b"nonsense %d" % i, {"Nats-Msg-Id": unique("nonsense")})
    until(lambda: len(stack.dead_letters()) == count, 20, "the letters are there")


def messages_left(stack):
    with stack.wire() as wire:
        return wire.outstanding("LOGS", "processor-logs") + wire.count("DEAD")


@pytest.mark.parametrize("kinds, events, singles", [(("nats", "redis"), 200000, 4000), (("redis", "nats"), 50000, 2000)],
                         ids=["nats-to-redis", "redis-to-nats"])
def test_a_move_killed_twice_loses_and_doubles_nothing(old, kinds, events, singles):
    stack, name = old(kinds, ACK_WAIT_MS="3000"), unique("move")
    bury(stack, 5)
    part = events // 4
    send(stack, name, 0, part)
    until(lambda: stack.count("logs") > part // 4, 30, "a part is stored")
    stack.processor.kill()  # with some in flight
    send(stack, name, part, events - singles - part)
    send(stack, name, events - singles, singles, lines=1)
    stack.ingestion.stop()

    total = messages_left(stack)
    assert total > singles
    for _ in range(2):
        first = Terminal(stack).until_moved(total // 3)
        assert first.end(signal.SIGKILL)[0] == -signal.SIGKILL, first.shown
        assert "/s" in first.shown and "s left" in first.shown
    moved = stack.move()
    assert {row["left"] for row in moved.values()} == {0}
    print("%d events in %d messages" % (events, total))

    stack.move_processor()
    stack.wait_stored()
    check_stored(stack, name, events)
    assert stack.dead_letters() == []
    with stack.new.wire() as wire:
        assert sorted(letter.data for letter in wire.messages("DEAD")) == [b"nonsense %d" % i for i in range(5)]


@DIRECTIONS
def test_one_that_is_asked_to_end_says_how_far_it_came(old, kinds):
    stack, name = old(kinds), unique("move")
    stack.processor.stop()
    send(stack, name, 0, 4000, lines=1)
    moving = Terminal(stack, "--timeout", "10000").until_moved(1)
    code, out = moving.end(signal.SIGTERM)
    assert code == WRONG and "interrupted" in moving.shown, (code, moving.shown)
    moved, left = map(int, re.search(r"^LOGS +processor-logs +(\d+) +(\d+)$", out, re.M).groups())
    assert moved + left == 4000 and left > 0
    with stack.new.wire() as wire:
        assert wire.count("LOGS") == moved
    assert stack.move()["LOGS"] == {"stream": "LOGS", "consumer": "processor-logs", "moved": left, "left": 0}
    stack.move_processor()
    stack.wait_stored()
    check_stored(stack, name, 4000)


@DIRECTIONS
def test_what_a_worker_holds_is_told_and_taken_when_it_comes_back(old, kinds):
    stack, name = old(kinds, ACK_WAIT_MS="8000"), unique("move")
    stack.postgres.send(signal.SIGSTOP)
    send(stack, name, 0, 20, lines=1)
    with stack.wire() as wire:
        held = lambda: next(row for row in rows(stack, "lag") if row["name"] == "processor-logs")["in_flight"]
        until(held, 20, "they are in flight")
        stack.processor.kill()
        stack.postgres.send(signal.SIGCONT)
        row = stack.move("--wait", "1", code=WRONG, says="not everything has moved")["LOGS"]
        assert row["left"] > 0 and row["moved"] + row["left"] == 20
        assert stack.move()["LOGS"]["left"] == 0
        assert wire.outstanding("LOGS", "processor-logs") == 0
    stack.move_processor()
    stack.wait_stored()
    check_stored(stack, name, 20)


@DIRECTIONS
def test_a_full_stream_keeps_its_settings_and_no_other(old, kinds):
    stack, name, text = old(kinds), unique("move"), "x" * 4000
    small = {"BROKER_URL": stack.new.url, "STREAM_MAX_BYTES": "1048576"}
    rows(stack, "declare", "--apply", **small)
    stack.processor.stop()
    lines = [b'{"service":"moving","message":"%s %d %s"}\n' % (name.encode(), i, text.encode()) for i in range(500)]
    send_share(stack, lines)
    assert stack.post("/readings", {"site_id": name, "device_id": "d", "power_reading": 1}).status_code in (200, 201, 422)
    moved = stack.move("--wait", "1", code=REFUSED, says="LOGS")
    assert 0 < moved["LOGS"]["moved"] < 500 and moved["LOGS"]["moved"] + moved["LOGS"]["left"] == 500
    assert moved["READINGS"]["left"] == 0
    found = {row["name"]: row for row in rows(stack, "streams", **small)}
    assert found["LOGS"]["max_bytes"] == 1048576

    stack.settings["all"] = {}
    stack.processor.env["TRIM_INTERVAL_MS"] = "200"
    stack.move_processor()
    until(lambda: not stack.move("--wait", "1").get("LOGS", {"left": 1})["left"] if room(stack) else False, 40, "all")
    stack.wait_stored()
    check_stored(stack, name, 500)
