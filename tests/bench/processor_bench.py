"""How fast the processor stores what waits in its stream, on each broker in turn.

processor_bench.py [ROUNDS]

Each round fills the readings' stream while no processor runs, starts one, and takes the time from the
first rows to the last: once with one event in a message, once with bulk bodies, whose messages carry
many. The rates of a machine swing; the ratio between the brokers is what to look at.
"""

import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))

from events import reading  # noqa: E402
from stack import BIN, Connection, PostgresTemplate, Stack, until  # noqa: E402

BROKERS = ("nats", "redis")
KINDS = {"one event in a message": (200_000, 1), "bulk bodies": (600_000, 1000)}


def fill(stack, count, size):
    lines = "".join(json.dumps(reading("site-%d" % (i % 50), device_id="m-%d" % (i % 999))) + "\n" for i in range(1000))
    if size == 1:
        subprocess.run([BIN / "millrace", "send", "readings.site-1.m-1", "--quiet", "--broker", stack.broker.url],
                       input=lines.encode() * (count // 1000), check=True, stdout=subprocess.DEVNULL)
        return
    client = Connection(stack.ingestion, 60)
    for _ in range(count // 1000):
        status, _ = client.post("/readings", lines, "application/x-ndjson")
        assert status == 201, status
    client.close()


def drain(stack, count):
    """Events a second, from the first rows to the last."""

    def rows():
        return stack.processor.metric("store_rows_total", topic="readings") or 0

    stack.processor.start().wait_ready()
    first = until(rows, 30, "the first row")
    begun = time.monotonic()
    until(lambda: rows() >= count, 120, "the last row")
    rate = (count - first) / (time.monotonic() - begun)
    assert stack.processor.stop() == 0
    return rate


def measure(template, broker, count, size):
    stack = Stack(template, broker, {"all": {"STREAM_MAX_BYTES": str(2**30)}}).start()
    try:
        assert stack.processor.stop() == 0
        fill(stack, count, size)
        return drain(stack, count)
    finally:
        stack.close()


def main():
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory(prefix="millrace-bench-") as folder:
        pathlib.Path(folder).chmod(0o755)
        template = PostgresTemplate(folder)
        for kind, (count, size) in KINDS.items():
            rates = {broker: [] for broker in BROKERS}
            for _ in range(rounds):
                for broker in BROKERS:
                    rates[broker].append(measure(template, broker, count, size))
            middle = {broker: statistics.median(of) for broker, of in rates.items()}
            print("%s, events/s: %s; redis is %.2f of nats" % (
                kind, ", ".join("%s %.0f (%s)" % (broker, middle[broker], " ".join("%.0f" % rate for rate in of))
                                for broker, of in rates.items()), middle["redis"] / middle["nats"]), flush=True)


if __name__ == "__main__":
    main()
