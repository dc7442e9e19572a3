"""The garage: sessions whatever the order of the events, invoices, the writer's file."""

import datetime
import itertools
import uuid

import pytest

from events import UTC, iso, unique
from parking import plates, read_summaries
from stack import until

START = datetime.datetime(2026, 11, 20, 8, 0, tzinfo=UTC)


def at(minutes):
    return iso(START + datetime.timedelta(minutes=minutes))


def event(kind, plate, minutes, garage, **fields):
    """(path, body) of an entry or an exit."""
    return "/parking/%s" % {"entry": "entries", "exit": "exits"}[kind], {
        "vehicle_plate": plate, "garage_id": garage, "%s_date_time" % kind: at(minutes), **fields}


def send(stack, *events):
    for path, body in events:
        answer = stack.post(path, body)
        assert answer.status_code == 201, answer.text


def sessions(stack, plate):
    """(entry, exit, matched, anomalous) of a plate's sessions, oldest first, the times in minutes."""

    def minutes(text):
        return text and (datetime.datetime.fromisoformat(text.replace("Z", "+00:00")) - START).total_seconds() / 60

    found = stack.get("/parking/sessions", plate=plate)["sessions"]
    return sorted(((minutes(s["entry_time"]), minutes(s["exit_time"]), s["matched"], s["anomalous"]) for s in found),
                  key=lambda session: (session[0], session[1] is None, session[1]))


def expect_sessions(stack, plate, wanted):
    until(lambda: sessions(stack, plate) == wanted, 15, "%s has the sessions %s" % (plate, wanted))


def test_a_stay_is_a_session_an_invoice_and_a_line(stack):
    plate, garage = next(plates()), unique("garage")
    entry, leaving = event("entry", plate, 0, garage), event("exit", plate, 90, garage)
    answer = stack.post(*entry)
    assert (answer.status_code, answer.json()["status"]) == (201, "accepted")
    expect_sessions(stack, plate, [(0, None, False, False)])
    assert stack.get("/parking/garages/%s" % garage)["occupancy"] == 1
    [session] = stack.get("/parking/sessions", garage=garage, open="true")["sessions"]
    assert session["open"] is True

    send(stack, leaving)
    expect_sessions(stack, plate, [(0, 90, True, False)])
    [invoice] = until(lambda: stack.get("/parking/invoices", plate=plate)["invoices"], 15, "the invoice")
    assert invoice["duration_s"] == 5400 and invoice["matched"] is True
    assert (invoice["amount_cents"], invoice["currency"]) == (400, "EUR")  # two hours have begun
    garage = stack.get("/parking/garages/%s" % garage, **{"from": at(0), "to": at(120)})
    assert garage["occupancy"] == 0
    assert sum(hour["entries"] for hour in garage["hours"]) == sum(hour["exits"] for hour in garage["hours"]) == 1

    [line] = until(lambda: read_summaries(stack, plate), 15, "the line in the file")
    assert {name: line[name] for name in ("vehicle", "entryTime", "exitTime", "duration", "matched")} == {
        "vehicle": plate, "entryTime": at(0), "exitTime": at(90), "duration": 5400, "matched": True}


ENTRY, EXIT = "entry", "exit"
TIMELINES = {
    "an entry and its exit": ([(ENTRY, 0), (EXIT, 30)], [(0, 30, True, False)]),
    "an exit alone": ([(EXIT, 30)], [(30, 30, False, False)]),
    "an entry alone": ([(ENTRY, 0)], [(0, None, False, False)]),
    "two stays": ([(ENTRY, 0), (EXIT, 30), (ENTRY, 60), (EXIT, 70)], [(0, 30, True, False), (60, 70, True, False)]),
    "a second entry ends the first stay": (
        [(ENTRY, 0), (ENTRY, 20), (EXIT, 30)], [(0, 20, False, True), (20, 30, True, False)]),
    "a second exit has no entry": ([(ENTRY, 0), (EXIT, 30), (EXIT, 40)], [(0, 30, True, False), (40, 40, False, False)]),
    "in and out in the same moment": ([(ENTRY, 5), (EXIT, 5)], [(5, 5, True, False)]),
}


@pytest.mark.parametrize("name", TIMELINES)
def test_the_order_of_arrival_changes_nothing(stack, name):
    moves, wanted = TIMELINES[name]
    for order, plate in zip(itertools.permutations(moves), plates()):
        send(stack, *(event(kind, plate, minutes, "order") for kind, minutes in order))
        # The events of the next order are on their way meanwhile: nothing else than time settles the last.
        expect_sessions(stack, plate, wanted)
        open_stays = stack.count("parking_sessions", "vehicle_plate = %s AND exit_time IS NULL", plate)
        assert open_stays == sum(session[1] is None for session in wanted)


def test_a_late_entry_corrects_what_was_said(stack):
    plate = next(plates())
    send(stack, event("exit", plate, 40, "late"))
    [first] = until(lambda: read_summaries(stack, plate), 15, "the line of the exit alone")
    assert (first["matched"], first["duration"]) == (False, 0)
    send(stack, event("entry", plate, 10, "late"))
    lines = until(lambda: len(found := read_summaries(stack, plate)) == 3 and found, 15, "the correction")
    assert len({line["id"] for line in lines}) == 3
    assert sorted((line["duration"], line["matched"], bool(line.get("withdrawn"))) for line in lines) == [
        (0, False, False), (0, False, True), (1800, True, False)]
    [invoice] = until(lambda: [i for i in stack.get("/parking/invoices", plate=plate)["invoices"] if i["matched"]], 15,
                      "the corrected invoice")
    assert len(stack.get("/parking/invoices", plate=plate)["invoices"]) == 1 and invoice["duration_s"] == 1800


def test_the_same_event_twice_is_one(stack):
    plate, id_ = next(plates()), str(uuid.uuid4())
    entry = event("entry", plate, 0, "twice", id=id_)
    assert stack.post(*entry).json()["id"] == id_
    assert stack.post(*entry).json()["duplicate"] is True
    send(stack, event("exit", plate, 10, "twice"))
    expect_sessions(stack, plate, [(0, 10, True, False)])
    stack.wait_settled()
    assert len(read_summaries(stack, plate)) == 1


def test_a_body_of_many_lines(stack):
    garage, some = unique("bulk"), list(itertools.islice(plates(), 300))
    for kind, minutes in (("entry", 0), ("exit", 20)):
        path, _ = event(kind, "X1", 0, garage)
        answer = stack.post(path, [event(kind, plate, minutes, garage)[1] for plate in some])
        assert answer.status_code == 201 and len(answer.text.splitlines()) == len(some)
    rows, _ = until(lambda: len((found := stack.pages("/parking/invoices", "invoices", garage=garage, limit=77))[0])
                    == len(some) and found, 15, "all invoices")
    assert {row["vehicle_plate"] for row in rows} == set(some)
    stack.wait_settled()
    with_line = [line["vehicle"] for line in read_summaries(stack) if line["vehicle"] in set(some)]
    assert sorted(with_line) == sorted(some)


def test_what_waited_is_told_once_and_as_it_was(new_stack):
    """A processor that comes late sees many visits of a plate in one batch: none of them looks like another."""
    stack = new_stack(writer=1)
    assert stack.processor.stop() == 0
    some, stays = list(itertools.islice(plates(), 40)), [(0, 10), (20, 35), (50, 51)]
    for plate in some:
        send(stack, *(event(kind, plate, stay[kind == "exit"], "waited") for stay in stays for kind in ("entry", "exit")))
    stack.processor.start().wait_ready()
    stack.wait_settled()
    lines = read_summaries(stack)
    assert len(lines) == stack.count("parking_summaries") == len(some) * len(stays)
    assert all(line["matched"] and "revision" not in line for line in lines)
    assert stack.processor.metric("parking_sessions_total", matched="true") == len(lines)


def test_a_batch_that_is_too_much_for_one_statement_is_stored_in_parts(new_stack):
    """A statement has a fifth of a lease."""
    stack = new_stack({"all": {"ACK_WAIT_MS": "1000"}})
    assert stack.processor.stop() == 0
    plate, count = next(plates()), 20000
    for kind in ("entry", "exit"):
        path, _ = event(kind, plate, 0, "long")
        body = [event(kind, plate, 2 * i + (kind == "exit"), "long")[1] for i in range(count // 2)]
        assert stack.post(path, body, timeout=30).status_code == 201
    stack.processor.start().wait_ready()
    stack.wait_settled(60)
    assert stack.count("parking_events") == count
    assert stack.count("parking_sessions", "matched AND NOT withdrawn") == count // 2


BAD = {
    "no JSON": (b"plate", 400, "json_syntax", ""),
    "an empty body": (b"", 400, "json_empty", ""),
    "no plate": ({"garage_id": "g"}, 422, "missing_field", "/vehicle_plate"),
    "a plate in small letters": ({"vehicle_plate": "abc123"}, 422, "bad_format", "/vehicle_plate"),
    "a plate with a line end": ({"vehicle_plate": "AB\n12"}, 422, "bad_format", "/vehicle_plate"),
    "a plate that is too long": ({"vehicle_plate": "A" * 13}, 422, "out_of_range", "/vehicle_plate"),
    "a plate that is a number": ({"vehicle_plate": 123456}, 422, "wrong_type", "/vehicle_plate"),
    "a time that is none": ({"vehicle_plate": "AAA000", "%s_date_time": "yesterday"}, 422, "bad_format",
                            "/%s_date_time"),
    "a time without a zone": ({"vehicle_plate": "AAA000", "%s_date_time": "2026-11-20T08:00:00"}, 422, "bad_format",
                              "/%s_date_time"),
    "a time before 1970": ({"vehicle_plate": "AAA000", "%s_date_time": "1969-12-31T23:59:59Z"}, 422, "out_of_range",
                           "/%s_date_time"),
}


@pytest.mark.parametrize("kind, path", [("entry", "/parking/entries"), ("exit", "/parking/exits")])
@pytest.mark.parametrize("name", BAD)
def test_bad_events_are_refused_by_name(stack, name, kind, path):
    body, status, code, pointer = BAD[name]
    if isinstance(body, dict):
        body = {key.replace("%s", kind): value for key, value in body.items()}
    answer = stack.post(path, body)
    assert answer.status_code == status, answer.text
    problem = answer.json()
    assert problem["code"] == code
    assert not pointer or problem["errors"][0]["pointer"] == pointer.replace("%s", kind)


def test_while_the_writer_is_away_summaries_wait_and_then_arrive_once(new_stack):
    stack = new_stack({"all": {"ACK_WAIT_MS": "3000"}}, writer=1)
    some = list(itertools.islice(plates(), 400))
    stack.writer.kill()
    for plate in some:
        send(stack, event("entry", plate, 0, "away"), event("exit", plate, 25, "away"))
    until(lambda: stack.count("parking_sessions", "exit_time IS NOT NULL") == len(some), 15, "every session is closed")
    until(lambda: stack.processor.metric("delivery_circuit_state") == 0, 15, "the breaker opens")
    assert read_summaries(stack) == []
    stack.writer.start().wait_ready()
    stack.wait_settled(40)
    lines = read_summaries(stack)
    assert sorted(line["vehicle"] for line in lines) == sorted(some)
    assert stack.count("parking_summaries") == len(some)
    assert stack.dead_letters() == []
