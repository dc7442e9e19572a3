"""`millrace`, the command line, as people and scripts use it: every command against real servers."""

import json
import os
import pty
import select
import signal
import subprocess
import time

import pytest

from events import unique
from ports import free_ports
from stack import BIN, BROKERS, until

DONE, WRONG, USAGE, AWAY, ABSENT, REFUSED = range(6)
SETTINGS = {"STREAM_MAX_BYTES": "268435456"}  # as the stack's services have it
INHERITED = {name: os.environ[name] for name in ("PATH", "TSAN_OPTIONS", "ASAN_OPTIONS") if name in os.environ}


def environment(stack, **env):
    return {**INHERITED, "BROKER_URL": stack.broker.url, "DATABASE_URL": stack.postgres.url, **SETTINGS, **env}


def run(stack, *arguments, stdin=b"", **env):
    return subprocess.run([BIN / "millrace", *arguments], env=environment(stack, **env), timeout=30,
                          capture_output=True, input=stdin)


def rows(stack, *arguments, code=DONE, **more):
    """What it says with --json, as objects."""
    done = run(stack, *arguments, "--json", **more)
    assert done.returncode == code, (done.stdout, done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


def fails(stack, *arguments, code, says, **more):
    done = run(stack, *arguments, **more)
    assert done.returncode == code, (done.stdout, done.stderr)
    assert says in done.stderr.decode(), done.stderr
    return done


def start(stack, *arguments, **options):
    return subprocess.Popen([BIN / "millrace", *arguments], env=environment(stack), stdin=subprocess.PIPE,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)


def bury(stack, reason="nonsense"):
    """A dead letter of one's own; (its sequence in DEAD, where it was sent)."""
    subject = "logs.%s" % unique("dead")
    sent = rows(stack, "send", subject, reason)[0]

    def find():
        return [letter for letter in rows(stack, "dead", "list") if letter["message_id"] == sent["id"]]

    return until(find, 20, "the letter is there")[0]["id"], subject


# ---- send ----


def test_what_is_sent_is_stored_as_an_event(stack):
    text = unique("hello")
    sent = rows(stack, "send", "logs.cli", json.dumps({"message": text, "service": "cli"}))[0]
    assert sent["stream"] == "LOGS" and sent["duplicate"] is False and sent["sequence"]
    found = until(lambda: stack.get("/logs", q=text)["logs"], 20, "it is stored")[0]
    assert found["service"] == "cli" and found["event_id"] == sent["id"] and found["stream_id"] == sent["sequence"]


def test_it_carries_the_headers_of_an_event(stack):
    subject = "logs.%s" % unique("headers")
    sent = rows(stack, "send", subject, '{"message":"x"}', "--header", "ce-source: /else", "-H", "x-mine:1")[0]
    headers = rows(stack, "tail", subject, "--since", "first", "--max", "1")[0]["headers"]
    assert headers["ce-specversion"] == "1.0" and headers["ce-type"] == "millrace.v1.Log"
    assert headers["ce-id"] == sent["id"] and headers["ce-source"] == "/else" and headers["x-mine"] == "1"
    assert "ce-time" in headers and "ce-datacontenttype" in headers


def test_the_same_id_again_is_a_duplicate(stack):
    name = unique("id")
    first = rows(stack, "send", "logs.cli", '{"message":"x"}', "--id", name)[0]
    again = rows(stack, "send", "logs.cli", '{"message":"x"}', "--id", name)[0]
    assert (first["duplicate"], again["duplicate"]) == (False, True) and first["sequence"] == again["sequence"]


def test_nonsense_becomes_a_dead_letter_that_says_why(stack):
    sequence, subject = bury(stack)
    letter = rows(stack, "dead", "show", sequence)[0]
    assert letter["reason"] == "json_syntax" and letter["data"] == "nonsense" and letter["subject"] == subject


def test_lines_of_the_input_are_messages(stack):
    subject, count = "logs.%s" % unique("lines"), 5000
    lines = b"".join(b'{"message":"line %d"}\n\n' % i for i in range(count))
    first = rows(stack, "send", subject, "--id", subject, stdin=lines)[0]
    assert first == {"stream": "LOGS", "stored": count, "duplicates": 0, "failed": 0, "complete": True}
    again = rows(stack, "send", subject, "--id", subject, stdin=lines)[0]
    assert (again["stored"], again["duplicates"]) == (0, count)
    shown = rows(stack, "tail", subject, "--since", "first", "--max", str(count))
    assert {json.loads(message["data"])["message"] for message in shown} == {"line %d" % i for i in range(count)}


def test_a_line_that_is_refused_is_named_and_the_others_are_sent(stack):
    lines = b'{"message":"1"}\n' + b"x" * 1100000 + b'\n{"message":"3"}'
    done = fails(stack, "send", "logs.cli", code=WRONG, says="line 2: over", stdin=lines)
    assert b"LOGS         2" in done.stdout
    failed = run(stack, "send", "logs.cli", "--id", "x" * 127, "--json", stdin=b"1\n2\n")
    assert failed.returncode == WRONG and json.loads(failed.stdout)["failed"] == 2
    assert b"line 1: " in failed.stderr and b"line 2: " in failed.stderr


def test_nothing_to_send_is_done(stack):
    assert rows(stack, "send", "logs.cli", stdin=b"")[0]["stored"] == 0


@pytest.mark.parametrize("arguments, code, says", [
    (["two words", "x"], REFUSED, "is not a subject"),
    (["logs.*", "x"], REFUSED, "is not a subject"),
    (["nobody.here", "x"], ABSENT, "there are: DEAD"),
    (["logs.x", "x", "--id", "x" * 129], REFUSED, "an id needs"),
    (["logs.x", "x", "--header", "Nats-Msg-Id: 1"], REFUSED, "the broker's own"),
    (["logs.x", "x", "--header", "a: b\nc"], REFUSED, "control character"),
    (["logs.x"] + ["x", "y"], USAGE, "one argument too many"),
    (["logs." + "x" * 600, "x"], REFUSED, "512 bytes"),
])
def test_what_cannot_be_sent_is_refused(stack, arguments, code, says):
    fails(stack, "send", *arguments, code=code, says=says)


def test_an_interrupted_send_says_how_far_it_came(stack):
    subject = "logs.%s" % unique("interrupted")
    process = start(stack, "send", subject, "--json")
    process.stdin.write(b'{"message":"x"}\n' * 10)
    process.stdin.flush()
    assert len(rows(stack, "tail", subject, "--since", "first", "--max", "10")) == 10
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=10)
    assert process.returncode == WRONG
    assert json.loads(out) == {"stream": "LOGS", "stored": 10, "duplicates": 0, "failed": 0, "complete": False}


# ---- tail ----


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_tail_shows_what_comes_and_ends_when_asked(stack, number):
    subject = "logs.%s" % unique("tail")
    rows(stack, "send", subject, '{"message":"before"}')
    process = start(stack, "tail", "logs.*", "--json", text=True)
    try:
        sent = []
        while not sent or process_has_nothing(process):
            sent.append(rows(stack, "send", subject, '{"message":"now"}')[0]["id"])
            assert len(sent) < 100
        seen = json.loads(process.stdout.readline())
        assert seen["id"] in sent and seen["subject"] == subject and seen["data"] == '{"message":"now"}'
        assert seen["stream"] == "LOGS" and seen["time"].endswith("Z")
    finally:
        process.send_signal(number)
        _, err = process.communicate(timeout=10)
    assert process.returncode == DONE and err == ""


def process_has_nothing(process):
    """Nothing to read within a moment."""
    return not select.select([process.stdout], [], [], 0.3)[0]


def test_tail_begins_where_it_is_told(stack):
    subject = "logs.%s" % unique("since")
    sequences = [rows(stack, "send", subject, '{"message":"%d"}' % i)[0]["sequence"] for i in range(5)]
    all_of_it = rows(stack, "tail", subject, "--since", "first", "--max", "5")
    assert [message["sequence"] for message in all_of_it] == sequences
    rest = rows(stack, "tail", subject, "--since", sequences[2], "--max", "3")
    assert [message["sequence"] for message in rest] == sequences[2:]


def test_tail_takes_nothing_from_a_consumer(stack):
    stack.wait_settled()
    rows(stack, "tail", "logs.>", "--since", "first", "--max", "2")
    assert stack.outstanding() == 0


def test_tail_reads_every_stream_that_can_match(stack):
    name = unique("both")
    rows(stack, "send", "logs.%s" % name, '{"message":"x"}')
    rows(stack, "send", "readings.%s" % name, '{"site_id":"a","device_id":"b","power_reading":1}')
    seen = rows(stack, "tail", "*.%s" % name, "--since", "first", "--max", "2")
    assert {message["stream"] for message in seen} == {"LOGS", "READINGS"}


def test_people_see_one_line_that_no_terminal_obeys(stack):
    subject = "logs.%s" % unique("people")
    rows(stack, "send", subject, stdin=b'\x1b[2Jred\tbell\x07\xff')
    line = run(stack, "tail", subject, "--since", "first", "--max", "1").stdout
    assert line.count(b"\n") == 1 and line.endswith(b"  \\x1b[2Jred\\x09bell\\x07\\xff\n")
    assert rows(stack, "tail", subject, "--since", "first", "--max", "1")[0]["data_base64"]


def test_a_reader_that_has_enough_ends_it_quietly(stack):
    process = start(stack, "tail", "logs.>", "--since", "first")
    process.stdout.close()
    assert process.wait(10) == DONE
    assert process.stderr.read() == b""
    process = start(stack, "tail", "logs.>")  # and with nothing to say
    process.stdout.close()
    assert process.wait(10) == DONE


def test_an_output_that_takes_nothing_is_an_error(stack):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([BIN / "millrace", "streams"], env=environment(stack), stdout=full,
                              stderr=subprocess.PIPE, timeout=20)
    assert done.returncode == WRONG and b"could not be written" in done.stderr


@pytest.mark.parametrize("closed, arguments, says", [
    (0, ["send", "logs.cli"], b"read the input"), (1, ["streams"], b"could not be written"),
    (2, ["streams"], b""),
])
def test_a_stream_that_is_closed_is_no_socket(stack, closed, arguments, says):
    done = subprocess.run(["sh", "-c", 'exec "$@" %d>&-' % closed, "sh", BIN / "millrace", *arguments],
                          env=environment(stack), stdin=subprocess.DEVNULL, capture_output=True, timeout=20)
    assert done.returncode == (DONE if closed == 2 else WRONG) and says in done.stderr


@pytest.mark.parametrize("arguments, code, says", [
    (["nobody.>"], ABSENT, "no stream has the subject"),
    (["logs..x"], REFUSED, "not a subject pattern"),
    (["logs.>", "--since", "never"], USAGE, "first, new or a sequence"),
    (["bc.>", "--since", "first"], USAGE, "no history"),
    ([], USAGE, "SUBJECT-PATTERN is missing"),
])
def test_what_cannot_be_followed_is_refused(stack, arguments, code, says):
    fails(stack, "tail", *arguments, code=code, says=says)


@pytest.mark.only("nats")
def test_announcements_are_heard(stack):
    topic = "bc.%s" % unique()
    process = start(stack, "tail", "bc.>", "--json", "--max", "1", text=True)
    with stack.wire() as wire:
        until(lambda: wire.send(b"PUB %s 2\r\nhi\r\n" % topic.encode()) or process.poll() is not None, 10,
              "one of them is heard")
    out, err = process.communicate(timeout=10)
    assert process.returncode == DONE and json.loads(out)["subject"] == topic and json.loads(out)["data"] == "hi"


# ---- streams, lag, declare ----


def test_streams_tell_how_full_they_are(stack):
    found = {row["name"]: row for row in rows(stack, "streams")}
    assert {"LOGS", "READINGS", "DEAD"} <= set(found)
    assert found["LOGS"]["subjects"] == "logs.>" and found["LOGS"]["max_bytes"] == 268435456
    assert found["LOGS"]["consumers"] == 1 and found["DEAD"]["consumers"] == 0
    with stack.wire() as wire:
        assert found["LOGS"]["messages"] <= wire.count("LOGS")
    table = run(stack, "streams").stdout.decode().splitlines()
    assert table[0].startswith("STREAM ") and len({line.index("  ") > 0 for line in table}) == 1


def test_lag_counts_what_waits_and_judges_it(new_stack):
    stack = new_stack({"processor": {"PROCESSOR_TOPICS": "readings"}})
    for i in range(3):
        assert stack.post("/logs", {"message": "waits"}).status_code == 201
    run(stack, "declare", "--apply")
    found = {row["name"]: row for row in rows(stack, "lag")}
    logs = found["processor-logs"]
    assert (logs["unread"], logs["in_flight"], logs["lag"], logs["stream"]) == (3, 0, 3, "LOGS")
    assert logs["oldest_age_ms"] >= 0
    rows(stack, "lag", "--max", "3")
    fails(stack, "lag", "--max", "2", code=WRONG, says="processor-logs: lag 3 is above 2")
    rows(stack, "lag", "--max", "2", "--consumer", "processor-readings")
    assert [row["name"] for row in rows(stack, "lag", "--stream", "LOGS")] == ["processor-logs"]
    fails(stack, "lag", "--consumer", "nobody", code=ABSENT, says="no consumer nobody")


def test_a_plan_changes_nothing_and_is_then_carried_out(stack, broker, tmp_path):
    """On a broker that has nothing yet."""
    tmp_path.chmod(0o755)
    server = BROKERS[broker](tmp_path, free_ports(1)[0]).start()
    try:
        until(server.answers, 20, "the broker answers")
        empty = lambda *arguments, **more: rows(stack, *arguments, BROKER_URL=server.url, **more)
        plan = empty("declare", "--plan", code=WRONG)
        assert {row["found"] for row in plan} == {"missing"} and "LOGS" in {row["name"] for row in plan}
        assert empty("streams") == []
        made = empty("declare", "--apply")
        assert {(row["name"], row["kind"]) for row in made} == {(row["name"], row["kind"]) for row in plan}
        assert {row["found"] for row in made} == {"created"}
        assert {row["found"] for row in empty("declare", "--plan")} == {"same"}
        assert {row["found"] for row in empty("declare", "--apply")} == {"same"}
        drifted = empty("declare", "--plan", code=WRONG, ACK_WAIT_MS="7000")
        logs = [row for row in drifted if row["name"] == "processor-logs"][0]
        assert logs["found"] == "drifted" and logs["difference"] == "ack_wait_ms is 30000, wanted 7000"
        assert empty("declare", "--apply", code=WRONG, ACK_WAIT_MS="7000")
        assert {row["found"] for row in empty("declare", "--plan")} == {"same"}
    finally:
        server.stop()


def test_mistakes_in_the_settings_are_told(stack):
    done = fails(stack, "declare", "--plan", code=USAGE, says="ACK_WAIT_MS", ACK_WAIT_MS="soon", MAX_ATTEMPTS="0")
    assert b"MAX_ATTEMPTS" in done.stderr


# ---- dead letters ----


def test_dead_letters_are_listed_by_filter(stack):
    sequence, _ = bury(stack)
    letter = [row for row in rows(stack, "dead", "list") if row["id"] == sequence][0]
    matching = ["--stream", "LOGS", "--consumer", "processor-logs", "--reason", "json_syntax",
                "--from-time", letter["last_time"]]
    assert sequence in [row["id"] for row in rows(stack, "dead", "list", *matching)]
    assert sequence not in [row["id"] for row in rows(stack, "dead", "list", "--until-time", letter["last_time"])]
    for other in (["--stream", "READINGS"], ["--consumer", "x"], ["--reason", "x"]):
        assert sequence not in [row["id"] for row in rows(stack, "dead", "list", *other)]
    assert len(rows(stack, "dead", "list", "--max", "1")) == 1
    assert b"json_syntax" in run(stack, "dead", "list").stdout


def test_a_letter_is_shown_whole(stack):
    sequence, subject = bury(stack, "\x1b[31mnonsense")
    shown = run(stack, "dead", "show", sequence).stdout
    assert b"dead-reason: json_syntax\n" in shown and b"dead-subject: %s\n" % subject.encode() in shown
    assert shown.endswith(b"\n\n\\x1b[31mnonsense\n")
    fails(stack, "dead", "show", "999999999", code=ABSENT, says="999999999")


def test_a_replay_sends_it_again_and_it_dies_again_once(stack):
    sequence, subject = bury(stack)
    dry = rows(stack, "dead", "replay", sequence, "--dry-run")[0]
    assert (dry["matched"], dry["replayed"]) == (1, 0)
    fails(stack, "dead", "replay", sequence, code=USAGE, says="--yes")
    done = rows(stack, "dead", "replay", sequence, "--yes")[0]
    assert done == {"matched": 1, "replayed": 1, "cut": 0, "complete": True}
    again = until(lambda: [row for row in rows(stack, "dead", "list") if row["subject"] == subject], 20,
                  "it is dead again")
    assert len(again) == 1 and again[0]["id"] != sequence and again[0]["replays"] == 1
    fails(stack, "dead", "replay", sequence, "--yes", code=ABSENT, says="no dead letter")


def test_a_purge_removes_what_it_means_and_no_more(stack):
    kept, removed = bury(stack)[0], bury(stack)[0]
    fails(stack, "dead", "purge", "--yes", code=USAGE, says="say which")
    fails(stack, "dead", "purge", removed, code=USAGE, says="--yes")
    assert rows(stack, "dead", "purge", removed, "--dry-run")[0]["purged"] == 0
    assert rows(stack, "dead", "purge", removed, "--yes")[0]["purged"] == 1
    left = [row["id"] for row in rows(stack, "dead", "list")]
    assert kept in left and removed not in left
    fails(stack, "dead", "purge", "no-sequence", "--yes", code=REFUSED, says="is no sequence")
    assert rows(stack, "dead", "purge", "--reason", "never_was", "--yes")[0]["matched"] == 0


def test_many_are_replayed_up_to_a_number(new_stack):
    stack = new_stack()
    assert rows(stack, "send", "logs.many", stdin=b"nonsense\n" * 700)[0]["stored"] == 700
    until(lambda: len(rows(stack, "dead", "list")) == 700, 30, "all are dead")
    assert rows(stack, "dead", "replay", "--reason", "json_syntax", "--max", "600", "--yes")[0]["replayed"] == 600
    stack.wait_settled()
    letters = until(lambda: len(rows(stack, "dead", "list")) == 700 and rows(stack, "dead", "list"), 20, "dead again")
    assert sorted(letter["replays"] for letter in letters) == [0] * 100 + [1] * 600
    assert rows(stack, "dead", "purge", "--stream", "LOGS", "--yes")[0]["purged"] == 700
    assert rows(stack, "dead", "list") == []


def on_terminal(stack, *arguments, answer):
    """What a terminal shows, and the exit code."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(BIN / "millrace", ["millrace", *arguments], environment(stack))
    shown = b""
    while True:
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # it has ended
            break
        if b"[y/N]" not in shown and b"[y/N]" in shown + piece:
            os.write(terminal, answer)
        shown += piece
    return shown, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_on_a_terminal_it_asks(stack):
    sequence, _ = bury(stack)
    shown, code = on_terminal(stack, "dead", "purge", sequence, answer=b"n\n")
    assert code == WRONG and b"Dead letters that are meant: 1. Remove for good? [y/N]" in shown
    assert rows(stack, "dead", "show", sequence)
    shown, code = on_terminal(stack, "dead", "purge", sequence, answer=b"y\n")
    assert code == DONE and b"removed 1" in shown
    fails(stack, "dead", "show", sequence, code=ABSENT, says=sequence)


# ---- doctor ----


def findings(stack, code, **env):
    return {(row["grade"], row["subject"]): row for row in rows(stack, "doctor", code=code, **env)}


def test_the_doctor_tells_what_a_commit_means_and_what_is_wrong(stack):
    found = findings(stack, WRONG)  # the tests' PostgreSQL does not write to its disk
    facts = [row["fact"] for row in rows(stack, "doctor", code=WRONG)]
    assert any("fsync is off" in fact for fact in facts) and any("full_page_writes is off" in fact for fact in facts)
    assert found["fine", "broker"] and found["fine", "postgresql"] and found["fine", "postgresql_schema"]
    assert found["fine", "postgresql_clock"] and found["fine", "topology"]
    assert any(subject == "durability" for _, subject in found)
    for row in found.values():
        assert row["fact"] and (row["remedy"] or row["grade"] != "wrong")
    shown = run(stack, "doctor").stdout.decode()
    assert "-> set fsync = on" in shown


def test_the_doctor_counts_dead_letters_by_reason(stack):
    bury(stack)
    assert "json_syntax" in findings(stack, WRONG)["notice", "dead_letters"]["fact"]


def test_the_doctor_sees_drift(stack):
    row = findings(stack, WRONG, MAX_IN_FLIGHT="7")["notice", "topology"]
    assert "max_in_flight is 20000, wanted 7" in row["fact"]


def test_the_doctor_sees_a_consumer_that_gets_nowhere(new_stack):
    """With ack_wait at a second, what waits longer than two is not taken."""
    stack = new_stack({"all": {"ACK_WAIT_MS": "1000"}, "processor": {"PROCESSOR_TOPICS": "readings"}})
    run(stack, "declare", "--apply", ACK_WAIT_MS="1000")
    assert stack.post("/logs", {"message": "waits"}).status_code == 201
    row = until(lambda: findings(stack, WRONG, ACK_WAIT_MS="1000").get(("wrong", "progress")), 20, "it is found")
    assert "processor-logs: 1 messages wait" in row["fact"] and row["remedy"]


def test_the_doctor_sees_a_stream_that_is_nearly_full(new_stack):
    stack = new_stack({"all": {"STREAM_MAX_BYTES": "1048576"}, "processor": {"PROCESSOR_TOPICS": "readings"}})
    line = json.dumps({"message": "x" * 10000}).encode() + b"\n"
    fails(stack, "send", "logs.full", code=REFUSED, says="stopped", stdin=line * 200)
    row = findings(stack, WRONG, STREAM_MAX_BYTES="1048576")["wrong", "full"]
    assert "stream LOGS is" in row["fact"] and "refuses messages" in row["fact"]


def test_the_doctor_reports_the_rest_when_one_is_away(stack):
    nowhere = free_ports(1)[0]
    found = findings(stack, AWAY, DATABASE_URL="postgresql://u:hunter2@127.0.0.1:%d/x" % nowhere)
    assert found["wrong", "postgresql"]["remedy"] and found["fine", "broker"]
    assert "hunter2" not in json.dumps(list(found.values()))
    away = "%s://127.0.0.1:%d" % (stack.broker.kind, nowhere)
    done = run(stack, "doctor", "--json", "--broker", away, "--timeout", "300")
    subjects = {(row["grade"], row["subject"]) for row in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == AWAY and {("wrong", "broker"), ("fine", "postgresql")} <= subjects


# ---- the broker away ----


@pytest.mark.parametrize("arguments", [
    ["send", "logs.x", "y"], ["send", "logs.x"], ["tail", "logs.>"], ["tail", "bc.>"], ["streams"], ["lag"],
    ["dead", "list"], ["dead", "show", "1"], ["dead", "replay", "1", "--yes"], ["dead", "purge", "1", "--yes"],
    ["declare", "--plan"], ["declare", "--apply"],
])
def test_a_broker_that_is_away_is_told_in_time(stack, arguments):
    away = "%s://me:hunter2@127.0.0.1:%d" % (stack.broker.kind, free_ports(1)[0])
    begun = time.monotonic()
    done = fails(stack, *arguments, "--timeout", "500", code=AWAY, says="looked for at 127.0.0.1:", BROKER_URL=away)
    assert time.monotonic() - begun < 5 and b"hunter2" not in done.stderr + done.stdout


def test_a_broker_that_does_not_answer_is_told_in_time(new_stack):
    stack = new_stack()
    stack.broker.send(signal.SIGSTOP)
    begun = time.monotonic()
    try:
        fails(stack, "lag", "--timeout", "500", code=AWAY, says="looked for at")
        assert time.monotonic() - begun < 6
        subjects = {row["subject"]: row["grade"] for row in rows(stack, "doctor", "--timeout", "500", code=AWAY)}
        assert subjects["broker"] == "wrong" and subjects["postgresql"] == "fine"
    finally:
        stack.broker.send(signal.SIGCONT)


def test_tail_goes_on_when_the_broker_is_back(new_stack):
    stack = new_stack()
    subject = "logs.%s" % unique("back")
    process = start(stack, "tail", "logs.*", "--since", "first", "--json", "--max", "2", text=True)
    rows(stack, "send", subject, '{"message":"before"}')
    assert json.loads(process.stdout.readline())["subject"] == subject
    stack.broker.kill()
    stack.broker.start()
    until(stack.broker.answers, 20, "it is back")
    rows(stack, "send", subject, '{"message":"after"}')
    out, _ = process.communicate(timeout=30)
    assert process.returncode == DONE and json.loads(out)["data"] == '{"message":"after"}'


# ---- settings ----


def test_a_url_from_a_file(stack, tmp_path):
    path = tmp_path / "url"
    path.write_text(stack.broker.url + "\n")
    rows(stack, "streams", BROKER_URL="", BROKER_URL_FILE=str(path))
    fails(stack, "streams", code=USAGE, says="both set", BROKER_URL_FILE=str(path))
    fails(stack, "streams", code=USAGE, says="cannot read", BROKER_URL="", BROKER_URL_FILE=str(tmp_path / "none"))
    rows(stack, "streams", "--broker", stack.broker.url, BROKER_URL="nats://127.0.0.1:1")
