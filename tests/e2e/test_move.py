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

from events import reading, unique
from ports import free_ports
from stack import BIN, BROKERS, Connection, Stack, until
from test_command_line import AWAY, DONE, INHERITED, REFUSED, USAGE, WRONG, rows

# Each goes from one to the other, whatever --broker says.
pytestmark = pytest.mark.only("nats")
DIRECTIONS = pytest.mark.parametrize("kinds", [("nats", "redis"), ("redis", "nats")], ids="-to-".join)
CLIENTS = 4


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


def send(stack, name, first, count, lines=1):
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


def kill_when(stack, moving, count):
    """Once the new broker has so many messages, of which it does not know yet that they are settled."""
    with stack.new.wire() as wire:
        until(lambda: wire.count("LOGS") >= count, 30, "%d have moved" % count)
    assert moving.end(signal.SIGKILL)[0] == -signal.SIGKILL, moving.shown


@pytest.mark.parametrize("kinds, events, lines", [(("nats", "redis"), 200000, 10), (("redis", "nats"), 40000, 4)],
                         ids=["nats-to-redis", "redis-to-nats"])
def test_a_move_killed_twice_loses_and_doubles_nothing(old, kinds, events, lines):
    stack, name, singles = old(kinds, ACK_WAIT_MS="3000"), unique("move"), 2000
    bury(stack, 5)
    part = events // 4
    send(stack, name, 0, part, lines)
    until(lambda: stack.count("logs") > part // 4, 30, "a part is stored")
    stack.processor.kill()  # with some in flight
    send(stack, name, part, events - singles - part, lines)
    send(stack, name, events - singles, singles, 1)
    stack.ingestion.stop()

    total = messages_left(stack)
    rows(stack, "declare", "--apply", BROKER_URL=stack.new.url, ACK_WAIT_MS="3000")
    for third in (1, 2):
        kill_when(stack, Terminal(stack), third * total // 3)
    moved = stack.move()
    assert {row["left"] for row in moved.values()} == {0}
    with stack.new.wire() as wire:
        assert total - 5 - wire.count("LOGS") == 0
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
    send(stack, name, 0, 4000)
    moving = Terminal(stack).until_moved(1)
    code, out = moving.end(signal.SIGTERM)
    assert code == WRONG and "interrupted" in moving.shown, (code, moving.shown)
    assert moving.total == 4000 and "/s, " in moving.shown and " s left" in moving.shown, moving.shown
    moved, left = map(int, re.search(r"^LOGS +processor-logs +(\d+) +(\d+)$", out, re.M).groups())
    assert moved + left == 4000 and left > 0
    with stack.new.wire() as wire:
        assert wire.count("LOGS") == moved
    assert stack.move()["LOGS"] == {"stream": "LOGS", "consumer": "processor-logs", "moved": left, "left": 0}
    stack.move_processor()
    stack.wait_stored()
    check_stored(stack, name, 4000)


def test_what_a_worker_holds_is_told_and_taken_when_it_comes_back(old):
    stack, name = old(("nats", "redis"), ACK_WAIT_MS="6000"), unique("move")
    stack.postgres.send(signal.SIGSTOP)
    send(stack, name, 0, 20)
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


def test_a_full_stream_keeps_its_settings_and_no_other(old):
    stack, name, text = old(("nats", "redis")), unique("move"), "x" * 4000
    small = {"BROKER_URL": stack.new.url, "STREAM_MAX_BYTES": "1048576"}
    rows(stack, "declare", "--apply", **small)
    stack.processor.stop()
    lines = [b'{"service":"moving","message":"%s %d %s"}\n' % (name.encode(), i, text.encode()) for i in range(500)]
    send_share(stack, lines)
    assert stack.post("/readings", reading(name)).status_code == 201
    moved = stack.move("--wait", "1", code=REFUSED, says="LOGS")
    assert 0 < moved["LOGS"]["moved"] < 500 and moved["LOGS"]["moved"] + moved["LOGS"]["left"] == 500
    assert moved["READINGS"]["left"] == 0
    found = {row["name"]: row for row in rows(stack, "streams", **small)}
    assert found["LOGS"]["max_bytes"] == 1048576

    stack.move_processor()  # it makes room
    assert stack.move()["LOGS"]["left"] == 0
    stack.wait_stored()
    check_stored(stack, name, 500)


def test_a_broker_that_goes_away_is_waited_for_and_then_told(old):
    stack, name = old(("redis", "nats"), ACK_WAIT_MS="2000"), unique("move")
    stack.processor.stop()
    send(stack, name, 0, 4000)
    moving = Terminal(stack, "--wait", "2", "--timeout", "1000").until_moved(1)
    stack.new.kill()
    code, out = moving.end()
    assert code == AWAY and "waiting: " in moving.shown, (code, moving.shown)
    assert re.search(r"^LOGS +processor-logs +\d+ +[1-9]\d*$", out, re.M), out
    stack.move("--timeout", "500", code=AWAY, says="--to")

    stack.new.start()
    until(stack.new.answers, 20, "it is back")
    moving = Terminal(stack).until_moved(1)
    stack.new.kill()
    stack.new.start()
    assert moving.end()[0] == DONE, moving.shown
    stack.move_processor()
    stack.wait_stored()
    check_stored(stack, name, 4000)


def test_two_consumers_move_a_message_once_in_a_window_shorter_than_the_move(old):
    stack, count = old(("nats", "redis")), 80000
    stack.processor.stop()
    with stack.wire() as wire:
        wire.api("CONSUMER.DURABLE.CREATE.LOGS.second", {"stream_name": "LOGS", "config": {
            "durable_name": "second", "deliver_policy": "all", "ack_policy": "explicit", "max_ack_pending": 20000}})
    rows(stack, "declare", "--apply", BROKER_URL=stack.new.url, DEDUP_WINDOW_S="2")
    assert rows(stack, "send", "logs.many", stdin=b'{"message":"x"}\n' * count)[0]["stored"] == count
    stack.move()
    with stack.new.wire() as wire:
        assert wire.count("LOGS") == wire.outstanding("LOGS", "second") == count


def test_dead_letters_are_replayed_on_the_new_broker(old):
    stack = old(("redis", "nats"))
    bury(stack, 3)
    there = {"BROKER_URL": stack.new.url}
    before = rows(stack, "dead", "list")
    stack.processor.stop()
    assert stack.move()["DEAD"] == {"stream": "DEAD", "consumer": None, "moved": 3, "left": 0}
    without_id = lambda letters: [{**letter, "id": None} for letter in letters]
    assert without_id(rows(stack, "dead", "list", **there)) == without_id(before)
    assert rows(stack, "dead", "list") == []
    assert rows(stack, "dead", "replay", "--yes", **there)[0]["replayed"] == 3
    stack.move_processor()
    again = until(lambda: len(rows(stack, "dead", "list", **there)) == 3 and rows(stack, "dead", "list", **there), 20,
                  "they are dead again")
    assert {letter["replays"] for letter in again} == {1}
    assert {letter["sequence"] for letter in again} == {letter["sequence"] for letter in before}


@pytest.mark.parametrize("arguments, code, says", [
    ([], USAGE, "--from URL and --to URL"),
    (["--from", "FROM"], USAGE, "--from URL and --to URL"),
    (["--from", "FROM", "--to", "FROM"], USAGE, "the same broker"),
    (["--from", "FROM", "--to", "AGAIN"], REFUSED, "the same broker"),
    (["--from", "FROM", "--to", "http://x"], USAGE, "--to: "),
    (["--from", "kafka://me:hunter2@x", "--to", "FROM"], USAGE, "--from: "),
    (["--from", "FROM", "--to", "AWAY", "--timeout", "300"], AWAY, "--to: "),
    (["--from", "AWAY", "--to", "FROM", "--timeout", "300"], AWAY, "--from: "),
    (["--from", "FROM", "--to", "AWAY", "--wait", "0"], USAGE, "--wait"),
    (["--from", "FROM", "--to", "AWAY", "--max", "1"], USAGE, "takes no --max"),
])
def test_what_cannot_be_moved_is_told(stack, arguments, code, says):
    urls = {"FROM": stack.broker.url, "AGAIN": stack.broker.url.replace("127.0.0.1", "localhost"),
            "AWAY": "redis://127.0.0.1:%d" % free_ports(1)[0]}
    sent = rows(stack, "send", "logs.cli", '{"message":"x"}')[0]
    done = subprocess.run([BIN / "millrace", "move", *[urls.get(word, word) for word in arguments]], env=INHERITED,
                          capture_output=True, timeout=30)
    assert done.returncode == code and says in done.stderr.decode(), (done.returncode, done.stderr)
    assert b"hunter2" not in done.stderr
    until(lambda: stack.count("logs", "id = %s", sent["id"]), 20, "nothing was taken")
