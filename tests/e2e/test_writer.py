"""The writer alone: what it has answered is in its files, once, whatever ends it."""

import collections
import json
import pathlib
import shutil
import signal
import tempfile
import threading
import uuid

import pytest

from parking import plates, read_summaries
from ports import free_ports
from stack import Connection, Service, until

CLIENTS = 20
ROUND = 300  # answers between two kills


class Writer(Service):
    def __init__(self, folder, name="writer", **env):
        self.folder, self.processes = folder, [self]
        super().__init__(name, "writer", free_ports(1)[0], folder / (name + ".log"), {"LOG_DIR": str(folder), **env})

    @property
    def file(self):
        return self.folder / "vehicle_summary.log"

    def post(self, event):
        return self.request("POST", "/log", json=event)


@pytest.fixture
def new_writer(request):
    """new_writer(NAME=value, …) starts one in the folder of this test."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-e2e-"))
    writers = request.node.stacks = []

    def make(**env):
        writers.append(Writer(folder, "writer-%d" % len(writers), **env).start())
        return writers[-1]

    yield make
    codes = [writer.stop() for writer in writers if writer.is_running()]
    for writer in writers:
        writer.tail()
    shutil.rmtree(folder)
    assert not any(codes)


@pytest.fixture
def writer(new_writer):
    writer = new_writer()
    writer.wait_ready()
    return writer


def summary(plate="ABC123"):
    return {"id": str(uuid.uuid4()), "vehicle": plate, "entryTime": "2026-11-20T08:00:00Z",
            "exitTime": "2026-11-20T09:30:00Z"}


class Load:
    """Clients that send one summary after the other until they are not answered any more."""

    def __init__(self, writer):
        self.writer, self.lock = writer, threading.Lock()
        self.sent, self.answered, self.refused = [], set(), []

    def start(self):
        self.threads = [threading.Thread(target=self.send_all) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def send_all(self):
        connection, status = Connection(self.writer), 200
        while status == 200:
            event = summary()
            with self.lock:
                self.sent.append(event)
            status, body = connection.post("/log", json.dumps(event))
            with self.lock:
                if status == 200:
                    self.answered.add(event["id"])
                elif status:
                    self.refused.append((status, body))
        connection.close()

    def wait_for(self, more):
        wanted = len(self.answered) + more
        until(lambda: len(self.answered) >= wanted or self.refused, 30, "%d answers" % wanted)
        assert self.refused == []

    def join(self):
        for thread in self.threads:
            thread.join()


def written(writer):
    """How often each id is in the files."""
    return collections.Counter(line["id"] for line in read_summaries(writer))


def check_once(writer, ids):
    found = written(writer)
    assert set(ids) <= set(found), "answered and not there: %s" % (set(ids) - set(found))
    assert max(found.values()) == 1, "more than once: %s" % found.most_common(3)


def send_again(writer, events):
    """{id: whether it was there} of one NDJSON body."""
    status, body = Connection(writer, 30).post("/log", b"".join(json.dumps(e).encode() + b"\n" for e in events),
                                               "application/x-ndjson")
    answers = [json.loads(line) for line in body.splitlines()]
    assert status == 200 and [answer["status"] for answer in answers] == [200] * len(events), body[:500]
    return {answer["id"]: answer.get("duplicate", False) for answer in answers}


def test_what_was_answered_is_there_once_after_every_kill(new_writer):
    writer = new_writer(ROTATE_BYTES="40000", KEEP_FILES="1000")  # some die while they rotate
    load = Load(writer)
    writer.wait_ready()
    for _ in range(6):
        load.start()
        load.wait_for(ROUND)
        writer.kill()
        load.join()
        writer.start()
        writer.wait_ready()  # it has mended what the kill tore
        check_once(writer, load.answered)
    assert load.refused == []

    for start in range(0, len(load.sent), 1000):
        new = {id_ for id_, there in send_again(writer, load.sent[start:start + 1000]).items() if not there}
        assert not new & load.answered
    assert written(writer) == collections.Counter(event["id"] for event in load.sent)
    assert len(list(writer.folder.glob("vehicle_summary.log.[0-9]*"))) > 1


def test_asked_to_stop_it_answers_what_it_has_and_ends_well(writer):
    load = Load(writer)
    load.start()
    load.wait_for(ROUND)
    assert writer.stop(signal.SIGTERM) == 0
    load.join()
    assert all(status == 503 for status, _ in load.refused), load.refused
    check_once(writer, load.answered)


def test_after_a_hangup_a_file_that_was_moved_is_made_anew(writer):
    some = plates()
    before, after, moved = next(some), next(some), writer.folder / "yesterday"
    assert writer.post(summary(plate=before)).status_code == 200
    writer.file.rename(moved)
    writer.send(signal.SIGHUP)
    until(writer.file.exists, 5, "the new file")
    assert writer.file.read_bytes() == b""
    assert writer.post(summary(plate=after)).status_code == 200
    assert [line["vehicle"] for line in read_summaries(writer)] == [after]
    assert json.loads(moved.read_text())["vehicle"] == before


def test_a_second_writer_of_the_same_file_is_refused(writer, new_writer):
    second = new_writer()
    assert second.child.wait(10) == 1
    said = json.loads(second.tail(1))
    assert said["level"] == "ERROR"
    assert "another writer is at work on '%s'" % writer.file in json.dumps(said)
    assert writer.post(summary()).status_code == 200
    assert len(read_summaries(writer)) == 1


def test_what_it_did_is_in_its_metrics(writer):
    event = summary()
    for _ in range(3):
        assert writer.post(event).status_code == 200
    assert writer.post({**event, "vehicle": "small"}).status_code == 422
    assert writer.metric("request_latency_seconds_count") == 4
    assert writer.metric("request_latency_seconds_sum") > 0
    assert [writer.metric("writer_lines_total", outcome=outcome)
            for outcome in ("written", "duplicate", "refused", "failed")] == [1, 2, 1, 0]
    assert writer.metric("writer_file_bytes") == writer.file.stat().st_size
