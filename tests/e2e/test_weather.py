"""Request/reply over streams: every caller gets its own answer, or is told why not."""

import concurrent.futures
import re
import time
import uuid

import pytest
import requests

from stack import until

CITY = "/WeatherForecast/city"
QUICK = {"ingestion": {"CALL_TIMEOUT_MS": "1500", "CALL_OPEN_MS": "1000"}, "all": {"ACK_WAIT_MS": "3000"}}


def ask(service, city, path=CITY, timeout=20, **headers):
    with requests.Session() as session:
        session.trust_env = False
        return session.post(service.url + path, json={"city": city, "location": "Testland"}, timeout=timeout,
                            headers={name.replace("_", "-"): value for name, value in headers.items()})


def result_of(stack, id_):
    answer = stack.api.get("/WeatherForecast/requests/" + id_)
    return answer.json() if answer.status_code == 200 else None


def test_a_call_is_answered_as_documented(stack):
    answer = ask(stack.ingestion, "Berlin")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"city", "location", "forecastTime", "temperature", "condition", "humidity", "windSpeed",
                         "requestId"}
    assert (body["city"], body["location"]) == ("Berlin", "Testland")
    assert -10 <= body["temperature"] < 40 and 30 <= body["humidity"] <= 99 and 0 <= body["windSpeed"] < 30
    stored = until(lambda: result_of(stack, body["requestId"]), 15, "the result is stored")
    assert {name: stored[name] for name in body} == body


@pytest.mark.parametrize("path", ["/weatherforecast/city", "/WEATHERFORECAST/CITY"])
def test_the_path_is_found_in_any_case(stack, path):
    assert ask(stack.ingestion, "Oslo", path).status_code == 200


def test_the_same_city_in_the_same_hour_has_the_same_weather(stack):
    def weather(answer):
        return {name: answer.json()[name] for name in ("temperature", "condition", "humidity", "windSpeed")}

    moment = "2026-11-20T08:10:00Z"
    answers = [stack.post(CITY, {"city": "Rome", "requestTime": moment}) for _ in range(2)]
    assert weather(answers[0]) == weather(answers[1])
    assert answers[0].json()["requestId"] != answers[1].json()["requestId"]


def test_a_call_that_does_not_wait_is_answered_later(stack):
    answer = ask(stack.ingestion, "Lima", Prefer="respond-async")
    assert answer.status_code == 202
    id_ = answer.json()["requestId"]
    assert answer.headers["Location"] == "/WeatherForecast/requests/" + id_
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert until(lambda: result_of(stack, id_), 15, "the result is stored")["city"] == "Lima"


def test_what_can_be_asked_besides(stack):
    days = stack.ingestion.get("/WeatherForecast").json()
    assert len(days) == 5 and set(days[0]) == {"date", "temperatureC", "summary", "temperatureF"}
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d", day["date"]) and -20 <= day["temperatureC"] < 55 for day in days)
    assert all(day["temperatureF"] == 32 + int(day["temperatureC"] / 0.5556) for day in days)
    assert stack.ingestion.get("/WeatherForecast/health").text == "Service is healthy"
    health = stack.ingestion.get("/healthz").json()
    assert health["status"] == "Healthy" and health["service"] == "IngressService"
    assert stack.responder.get("/healthz").json()["service"] == "ProxyService"
    assert stack.responder.get("/WeatherForecast/status").json()["status"] == "Running"


BAD = {
    "no JSON": (b"Berlin", 400, "json_syntax"),
    "null": (b"null", 422, "wrong_type"),
    "no city": ({"location": "x"}, 422, "missing_field"),
    "an empty city": ({"city": ""}, 422, "out_of_range"),
    "a city that is a list": ({"city": ["Berlin"]}, 422, "wrong_type"),
    "a city of 129 bytes": ({"city": "x" * 129}, 422, "out_of_range"),
    "a time that is none": ({"city": "x", "requestTime": "now"}, 422, "bad_format"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_calls_are_refused_by_name(stack, name):
    body, status, code = BAD[name]
    answer = stack.post(CITY, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


@pytest.mark.parametrize("id_, status", [(str(uuid.uuid4()), 404), ("seven", 422)])
def test_results_of_nothing(stack, id_, status):
    assert stack.api.get("/WeatherForecast/requests/" + id_).status_code == status


def test_five_hundred_at_once_each_get_their_own(new_stack):
    stack = new_stack(ingestion=2, responder=3)
    with concurrent.futures.ThreadPoolExecutor(500) as pool:
        cities = ["city %d" % i for i in range(500)]
        answers = list(pool.map(lambda i: ask(stack.all["ingestion"][i % 2], cities[i], timeout=60), range(500)))
    assert [answer.status_code for answer in answers] == [200] * 500
    assert [answer.json()["city"] for answer in answers] == cities
    ids = {answer.json()["requestId"] for answer in answers}
    assert len(ids) == 500
    stack.wait_settled()
    assert stack.count("weather_results") == 500


def test_without_responders_calls_end_at_the_deadline_then_at_once_and_recover(new_stack):
    stack = new_stack(QUICK, responder=1)
    assert ask(stack.ingestion, "Bern").status_code == 200
    assert stack.responder.stop() == 0
    started = time.monotonic()
    answer = ask(stack.ingestion, "Bern")
    assert answer.status_code == 504 and time.monotonic() - started < 3
    [seen] = until(lambda: [answer for answer in [ask(stack.ingestion, "Bern")] if answer.status_code == 503], 30,
                   "the breaker opens")
    assert int(seen.headers["Retry-After"]) >= 1 and seen.json()["code"] == "call_circuit_open"
    stack.responder.start().wait_ready()
    until(lambda: ask(stack.ingestion, "Bern").status_code == 200, 30, "calls are answered again")
    stack.wait_settled()
    outcomes = dict(stack.query("SELECT outcome, count(*) FROM weather_results GROUP BY outcome"))
    assert outcomes["OK"] >= 2 and set(outcomes) <= {"OK", "EXPIRED"}


def test_calls_while_responders_are_killed_are_answered_or_can_be_retrieved(new_stack):
    stack = new_stack({"all": {"ACK_WAIT_MS": "2000"}, "ingestion": {"CALL_TIMEOUT_MS": "10000"},
                       "responder": {"WEATHER_DELAY_MS": "20"}}, responder=2)
    ids = [str(uuid.uuid4()) for _ in range(300)]

    def call(i):
        return stack.post(CITY, {"id": ids[i], "city": "city %d" % i}, timeout=30)

    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        calls = [pool.submit(call, i) for i in range(len(ids))]
        for n, responder in enumerate(stack.responders * 2, 1):
            until(lambda: sum(call.done() for call in calls) >= n * 50, 30, "%d calls are answered" % (n * 50))
            responder.kill()
            responder.start()
        answers = [call.result() for call in calls]
    assert {answer.status_code for answer in answers} <= {200, 503, 504}
    accepted = [i for i, answer in enumerate(answers) if answer.status_code == 200]
    assert [answers[i].json()["city"] for i in accepted] == ["city %d" % i for i in accepted]
    stack.wait_settled(40)
    stored = times_stored(stack)
    assert max(stored.values()) == 1
    for i, answer in enumerate(answers):
        if answer.status_code != 503:
            assert stored.get(ids[i]) == 1, "%s was accepted and is not to be found" % ids[i]


def times_stored(stack):
    """{id of a request: how often its result is stored}"""
    return {str(id_): count for id_, count in stack.query("SELECT id, count(*) FROM weather_results GROUP BY id")}
