"""Sends a few thousand real events through HTTP and reads them back; what `./dev up` ends with.

traffic.py INGESTION_URL API_URL
"""

import concurrent.futures
import datetime
import http.client
import json
import sys
import time
import urllib.parse

LINES = 500  # of a bulk body
BODIES = 4  # of each kind
SINGLES = 250  # of each kind
CLIENTS = 4
READ_BACK_S = 20


class Client:
    """One kept-alive connection."""

    def __init__(self, url):
        self.connection = http.client.HTTPConnection(urllib.parse.urlsplit(url).netloc, timeout=15)

    def request(self, method, path, body=None, content_type="application/json"):
        headers = {"Content-Type": content_type} if body else {}
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status not in (200, 201):
            sys.exit("dev: %s %s says %d: %s" % (method, path, answer.status, text[:300].decode()))
        return text


def log(run, i):
    return {"service": run, "level": ("INFO", "WARNING", "ERROR")[i % 3], "message": "demo event %d" % i}


def reading(run, i):
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds")
    return {"site_id": run, "device_id": "meter-%d" % (i % 7), "power_reading": 100 + i / 10,
            "timestamp": now.replace("+00:00", "Z")}


def send(ingestion, requests):
    """Each client takes its share of (path, type, body)."""

    def work(share):
        client = Client(ingestion)
        for path, content_type, body in share:
            client.request("POST", path, body, content_type)

    with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
        for done in [pool.submit(work, requests[i::CLIENTS]) for i in range(CLIENTS)]:
            done.result()


def requests_of(run):
    requests = []
    for path, event in (("/logs", log), ("/readings", reading)):
        for n in range(BODIES):
            lines = (json.dumps(event(run, n * LINES + i)) for i in range(LINES))
            requests.append((path, "application/x-ndjson", "\n".join(lines) + "\n"))
        for i in range(SINGLES):
            requests.append((path, "application/json", json.dumps(event(run, i))))
    return requests


def count(client, path, member):
    """All pages of a list."""
    total, cursor = 0, None
    while True:
        text = client.request("GET", path + ("&cursor=" + urllib.parse.quote(cursor) if cursor else ""))
        page = json.loads(text)
        total, cursor = total + len(page[member]), page["next"]
        if not cursor:
            return total


def main():
    ingestion, api = sys.argv[1:3]
    run, wanted = "demo-%x" % int(time.time()), BODIES * LINES + SINGLES
    started = time.monotonic()
    send(ingestion, requests_of(run))
    sent = time.monotonic() - started
    print("sent       %6d events (%d in %d NDJSON bodies, %d one by one) in %.2f s: %.0f/s"
          % (2 * wanted, 2 * BODIES * LINES, 2 * BODIES, 2 * SINGLES, sent, 2 * wanted / sent))

    client, logs, readings = Client(api), 0, 0
    while logs + readings < 2 * wanted and time.monotonic() - started < READ_BACK_S:
        logs = count(client, "/logs?limit=1000&service=" + run, "logs")
        readings = count(client, "/sites/%s/readings?limit=1000" % run, "readings")
    took = time.monotonic() - started
    print("read back  %6d logs and %d readings through the api, %.2f s after the first was sent: %.0f/s"
          % (logs, readings, took, (logs + readings) / took))
    if logs != wanted or readings != wanted:
        sys.exit("dev: %d of each were acknowledged" % wanted)


try:
    main()
except OSError as err:
    sys.exit("dev: %s" % err)
