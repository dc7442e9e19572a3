"""What a garage's events come to, said a second time and in another way than in the store."""

import itertools
import json
import random


def plates():
    """Number plates that no test had before."""
    chance = random.SystemRandom()
    seen = set()
    while True:
        plate = "".join(chance.choice("ABCDEFGHJKLMNPRSTUVWXYZ") for _ in range(5)) + "%04d" % chance.randrange(10000)
        if plate not in seen:
            seen.add(plate)
            yield plate


def read_summaries(stack, plate=None):
    """The lines of the writer's files, rotated ones too, oldest first."""
    lines = []
    for path in sorted(stack.folder.glob("vehicle_summary.log*"), key=lambda path: path.stat().st_mtime):
        lines += [json.loads(line) for line in path.read_text().splitlines()]
    return [line for line in lines if plate in (None, line["vehicle"])]


def sessions_of(events):
    """{session id: (plate, entry time, exit time or None, matched)} of (plate, kind, time, id)."""
    sessions = {}
    for plate, group in itertools.groupby(sorted(events, key=lambda e: (e[0], e[2], e[1] != "entry", e[3])),
                                          key=lambda e: e[0]):
        entered = None  # (time, id) of the entry that is open
        for _, kind, time, id_ in group:
            if kind == "entry":
                if entered:
                    sessions[entered[1]] = (plate, entered[0], time, False)
                entered = time, id_
            elif entered:
                sessions[entered[1]] = (plate, entered[0], time, True)
                entered = None
            else:
                sessions[id_] = (plate, time, time, False)
        if entered:
            sessions[entered[1]] = (plate, entered[0], None, False)
    return sessions
