"""A town's traffic at a hundred times its speed, while each service is killed twice: every system ends up right."""

import collections
import datetime
import json
import os
import random
import subprocess
import threading

from parking import read_summaries, sessions_of
from stack import BIN

SECONDS = int(os.environ.get("MILLRACE_TOWN_S", "15"))
KILLS = 2  # of each service
SHARE = 0.8  # of the entries that the simulator publishes, so of the exits that match
SHARE_WITHIN = 0.04


def start_town(stack, seed):
    return subprocess.Popen(
        [BIN / "simulator", "--url", stack.ingestion.url, "--speed", "100", "--duration", str(SECONDS), "--garages", "5",
         "--seed", str(seed), "--journal", stack.folder / "journal", "--retries", "60", "--timeout", "5000", "--quiet"],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def kill_each(stack, chance):
    """One after the other, at times that are spread over the run."""
    victims = [stack.processor, stack.writer, stack.responder, stack.ingestion] * KILLS
    chance.shuffle(victims)
    pause = threading.Event()
    for victim in victims:
        pause.wait(chance.uniform(0.5, 1.5) * SECONDS / len(victims) / 2)
        victim.kill()
        pause.wait(chance.uniform(0, 0.5) * SECONDS / len(victims))
        victim.start()


def read_journal(stack):
    with open(stack.folder / "journal", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def milliseconds(moment):
    if isinstance(moment, str):
        moment = datetime.datetime.fromisoformat(moment.replace("Z", "+00:00"))
    return moment and round(moment.timestamp() * 1000)


def check_parking(stack, events):
    assert [e for e in events if e["outcome"] not in ("accepted", "duplicate")] == []
    wanted = sessions_of([(e["plate"], e["kind"], milliseconds(e["time"]), e["id"]) for e in events])
    rows = stack.query("SELECT session_id, vehicle_plate, entry_time, exit_time, matched FROM parking_sessions "
                       "WHERE NOT withdrawn")
    found = {str(id_): (plate, milliseconds(entry), milliseconds(leaving), matched)
             for id_, plate, entry, leaving, matched in rows}
    assert found == wanted

    closed = {id_: session for id_, session in wanted.items() if session[2] is not None}
    summaries = stack.query("SELECT DISTINCT ON (session_id) session_id, id, withdrawn, duration_s FROM parking_summaries "
                            "ORDER BY session_id, revision DESC")
    held = {str(session): duration for session, _, withdrawn, duration in summaries if not withdrawn}
    assert held == {id_: (session[2] - session[1]) / 1000 for id_, session in closed.items()}

    lines = collections.Counter(line["id"] for line in read_summaries(stack))
    assert set(lines) == {str(id_) for id_, in stack.query("SELECT id FROM parking_summaries")}
    assert set(lines.values()) <= {1}
    exits = sum(e["kind"] == "exit" for e in events)
    matched = sum(session[3] for session in closed.values()) / exits
    print("%d exits, %.1f %% matched, %d summaries of %d sessions" % (exits, 100 * matched, len(lines), len(closed)))
    assert abs(matched - SHARE) <= SHARE_WITHIN


def check_stored(stack, table, events):
    """What was accepted is stored once; what nobody accepted may be, once."""
    stored = collections.Counter(str(id_) for id_, in stack.query("SELECT id FROM %s" % table))
    assert set(stored.values()) <= {1}
    assert {e["id"] for e in events if e["outcome"] in ("accepted", "duplicate")} <= set(stored)
    assert set(stored) <= {e["id"] for e in events}


def test_a_town_goes_on_while_each_service_is_killed_twice(new_stack):
    seed = int(os.environ.get("MILLRACE_SEED", random.SystemRandom().randrange(10**6)))
    print("MILLRACE_SEED=%d" % seed)
    stack = new_stack({"all": {"ACK_WAIT_MS": "2000"}, "ingestion": {"CALL_TIMEOUT_MS": "3000"}}, writer=1, responder=1)
    town = start_town(stack, seed)
    kill_each(stack, random.Random(seed))
    table, _ = town.communicate(timeout=SECONDS + 120)
    print(table)
    for service in stack.services:
        service.wait_ready()
    stack.wait_settled(60)
    events = read_journal(stack)
    kinds = collections.defaultdict(list)
    for event in events:
        kinds[event["kind"]].append(event)
    check_parking(stack, kinds["entry"] + kinds["exit"])
    check_stored(stack, "readings", kinds["reading"])
    check_stored(stack, "logs", kinds["log"])
    check_stored(stack, "weather_results", kinds["weather"])
    assert stack.dead_letters() == []
