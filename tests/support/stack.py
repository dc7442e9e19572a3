"""A whole millrace of one's own: a broker, PostgreSQL and the services as child processes.

Everything listens on loopback on free ports and lives in one temporary folder; a process keeps its
port when it comes back. Processes are ended by their pid.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import psycopg
import requests

from nats_wire import Nats
from ports import free_ports
from redis_wire import Redis

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("MILLRACE_BIN", ROOT / "build/debug/cmd"))
STOP_S = 6  # a service drains in 5 s, or ends itself
START_S = 30


def until(condition, seconds, what):
    """The first true value of condition(), asked again and again; fails after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not in %g s: %s (last: %r)" % (seconds, what, value))
        time.sleep(0.02)


class Process:
    """A program that can be started again with the same arguments and the same port."""

    def __init__(self, name, argv, log, env=None):
        self.name, self.argv, self.log = name, [str(a) for a in argv], pathlib.Path(log)
        self.env = env or {}
        self.child, self.last = None, []

    @property
    def pid(self):
        return self.child.pid

    def start(self):
        inherited = {k: os.environ[k] for k in ("PATH", "HOME", "TSAN_OPTIONS", "ASAN_OPTIONS") if k in os.environ}
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(self.argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          cwd=self.log.parent, env={**inherited, **self.env})
        return self

    def is_running(self):
        return self.child is not None and self.child.poll() is None

    def send(self, number):
        if self.is_running():
            self.child.send_signal(number)

    def stop(self, number=signal.SIGTERM, seconds=STOP_S):
        """Asks it to end; its exit code. One that does not is killed and that is an error."""
        self.send(signal.SIGCONT)
        self.send(number)
        try:
            return self.child.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError("%s did not stop in %g s" % (self.name, seconds)) from None

    def kill(self):
        self.send(signal.SIGKILL)
        self.child.wait(10)

    def tail(self, lines=12):
        """The end of its log, also when the folder is gone."""
        if self.log.exists():
            self.last = self.log.read_text(errors="replace").splitlines()[-lines:]
        return "\n".join(self.last)


class Service(Process):
    def __init__(self, name, program, port, log, env):
        super().__init__(name, [BIN / program], log, {"HOST": "127.0.0.1", "PORT": str(port), **env})
        self.port, self.url = port, "http://127.0.0.1:%d" % port

    def get(self, path, **options):
        return self.request("GET", path, **options)

    def request(self, method, path, **options):
        """On a connection of its own, so that no answer depends on an earlier one."""
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, self.url + path, timeout=options.pop("timeout", 15), **options)

    def says(self, path):
        """The status of a GET; 0 when there is no answer."""
        try:
            return self.get(path, timeout=5).status_code
        except requests.RequestException:
            return 0

    def is_ready(self):
        return self.says("/readyz") == 200

    def wait_ready(self, seconds=START_S):
        until(lambda: self.is_ready() or not self.is_running(), seconds, "%s is ready" % self.name)
        assert self.is_running(), "%s ended with %s" % (self.name, self.child.returncode)

    def metric(self, name, **labels):
        """The sum over all cells that have these labels; None when there is none."""
        values = [value for found, have, value in self.metrics()
                  if found == name and labels.items() <= have.items()]
        return sum(values) if values else None

    def metrics(self):
        return parse_metrics(self.get("/metrics").text)


def parse_metrics(text):
    """[(name, labels, value)] of the Prometheus text format."""
    cells = []
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        head, value = line.rsplit(" ", 1)
        name, _, rest = head.partition("{")
        labels = dict(pair.split("=", 1) for pair in rest.rstrip("}").split('",') if "=" in pair)
        cells.append((name, {k: v.strip('"') for k, v in labels.items()}, float(value)))
    return cells


def as_postgres():
    """PostgreSQL refuses to be root."""
    if os.getuid():
        return []
    return ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"]


def postgres_bin():
    return max(pathlib.Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))


class PostgresTemplate:
    """One initdb for all stacks; each starts with a copy."""

    def __init__(self, folder):
        self.data = pathlib.Path(folder) / "template"
        self.data.mkdir(parents=True)
        if not os.getuid():
            shutil.chown(self.data, "postgres")
        run = lambda argv, **more: subprocess.run(as_postgres() + [str(a) for a in argv], check=True, cwd="/",
                                                  capture_output=True, **more)
        run([postgres_bin() / "initdb", "-D", self.data, "-U", "millrace", "-A", "trust", "-E", "UTF8",
             "--locale=C.UTF-8", "--no-sync"])
        run([postgres_bin() / "postgres", "--single", "-D", self.data, "postgres"],
            input=b"CREATE DATABASE millrace\n")

    def copy(self, target):
        subprocess.run(["cp", "-a", str(self.data), str(target)], check=True)


class Postgres(Process):
    def __init__(self, folder, port, template):
        data = pathlib.Path(folder) / "postgres"
        template.copy(data)
        options = {"listen_addresses": "127.0.0.1", "unix_socket_directories": "", "fsync": "off",
                   "full_page_writes": "off", "shared_buffers": "32MB", "max_connections": "60",
                   "logging_collector": "off"}
        settings = [part for item in options.items() for part in ("-c", "%s=%s" % item)]
        super().__init__("postgres", as_postgres() + [postgres_bin() / "postgres", "-D", data, "-p", port]
                         + settings, pathlib.Path(folder) / "postgres.log")
        self.url = "postgresql://millrace@127.0.0.1:%d/millrace" % port

    def children(self):
        result = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            try:
                stat = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            if int(stat[1]) == self.pid:
                result.append(int(entry.name))
        return result

    def kill(self):
        """All of its processes at once, as a crash of the machine would."""
        self.send(signal.SIGSTOP)  # so that it starts no more of them
        for pid in self.children():
            os.kill(pid, signal.SIGKILL)
        super().kill()

    def stop(self, number=signal.SIGINT, seconds=20):
        return super().stop(number, seconds)

    def answers(self):
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.Error:
            return False


class Broker(Process):
    """A server whose streams `wire` sees as stock tools do."""

    def wire(self, timeout=5):
        return self.client(self.port, timeout)

    def answers(self):
        try:
            with self.wire(2) as wire:
                self.ask(wire)
                return True
        except Exception:  # whatever it is: it does not answer
            return False


class NatsServer(Broker):
    kind, client = "nats", Nats

    def __init__(self, folder, port, name="nats", more=""):
        conf = pathlib.Path(folder) / (name + ".conf")
        conf.write_text('listen: "127.0.0.1:%d"\njetstream { store_dir: "%s/%s", max_mem: 64MB, '
                        "max_file: 8GB }\n%s" % (port, folder, name, more))
        super().__init__(name, ["nats-server", "-c", conf], pathlib.Path(folder) / (name + ".log"))
        self.port, self.url = port, "nats://127.0.0.1:%d" % port

    def ask(self, wire):
        wire.api("INFO")


class NatsCluster:
    """Three servers that look like one to a stack; streams need STREAM_REPLICAS=3 to be on all."""

    kind, name, SIZE = "cluster", "cluster", 3

    def __init__(self, folder, port):
        ports, routes = [port, *free_ports(self.SIZE - 1)], free_ports(self.SIZE)
        known = ", ".join('"nats://127.0.0.1:%d"' % route for route in routes)
        self.members = [
            NatsServer(folder, ports[i], "nats-%d" % i,
                       'server_name: n%d\ncluster { name: millrace, listen: "127.0.0.1:%d", routes: [%s] }\n'
                       % (i, routes[i], known))
            for i in range(self.SIZE)]
        self.url = ",".join(member.url for member in self.members)

    def start(self):
        for member in self.members:
            member.start()
        return self

    def stop(self, *_):
        for member in self.members:
            member.stop()
        return 0

    def is_running(self):
        return any(member.is_running() for member in self.members)

    def tail(self):
        return "\n".join(member.tail() for member in self.members)

    def answers(self):
        return all(member.answers() for member in self.members)

    def wire(self, timeout=5):
        return next(member for member in self.members if member.is_running()).wire(timeout)

    def is_whole(self, stream):
        """Every member has all of the stream."""
        try:
            with self.wire(2) as wire:
                state = wire.stream(stream)["cluster"]
        except Exception:  # without a leader nobody answers
            return False
        others = state.get("replicas", [])
        return "leader" in state and len(others) == self.SIZE - 1 and all(
            other["current"] and not other.get("offline") for other in others)


class RedisServer(Broker):
    kind, client = "redis", Redis

    def __init__(self, folder, port):
        super().__init__("redis", ["redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", folder,
                                   "--appendonly", "yes", "--appendfsync", "always", "--save", ""],
                         pathlib.Path(folder) / "redis.log")
        self.port, self.url = port, "redis://127.0.0.1:%d" % port

    def ask(self, wire):
        wire.call("PING")


BROKERS = {server.kind: server for server in (NatsServer, RedisServer, NatsCluster)}


CONSUMERS = (("LOGS", "processor-logs"), ("READINGS", "processor-readings"), ("PARKING", "processor-parking"),
             ("PARKING_SUMMARIES", "processor-summaries"), ("WEATHER_REQUESTS", "responder"),
             ("WEATHER_RESULTS", "processor-weather"))
STREAMS = [stream for stream, _ in CONSUMERS] + ["DEAD"]


class Stack:
    """settings: {"all": {...}, "ingestion": {...}, "processor": {...}, …} for the environment. How many of
    a program there are: writer=1, responder=3; the first one of each is the attribute of that name."""

    def __init__(self, template, broker, settings=None, processors=1, **counts):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="millrace-e2e-"))
        self.folder.chmod(0o755)
        self.settings = settings or {}
        counts = {"writer": 0, "ingestion": 1, "responder": 0, "processor": processors, "api": 1, **counts}
        ports = iter(free_ports(2 + sum(counts.values())))
        self.broker = BROKERS[broker](self.folder, next(ports))
        self.postgres = Postgres(self.folder, next(ports), template)
        self.writer_url = "none"
        self.all = {}
        for program, count in counts.items():
            self.all[program] = [self.service(program, next(ports), i) for i in range(count)]
            if program == "writer" and count:
                self.writer_url = self.writer.url + "/log"
        self.http = requests.Session()
        self.http.trust_env = False

    def service(self, program, port, number=0):
        env = {"BROKER_URL": self.broker.url, "STREAM_MAX_BYTES": "268435456", "LOG_LEVEL": "info"}
        if program in ("processor", "api"):
            env["DATABASE_URL"] = self.postgres.url
        if program == "processor":
            env["WRITER_URL"] = self.writer_url
        if program == "writer":
            env["LOG_DIR"] = str(self.folder)
        name = "%s-%d" % (program, number) if number else program
        return Service(name, program, port, self.folder / (name + ".log"),
                       {**env, **self.settings.get("all", {}), **self.settings.get(program, {})})

    ingestion = property(lambda self: self.all["ingestion"][0])
    processor = property(lambda self: self.all["processor"][0])
    processors = property(lambda self: self.all["processor"])
    responder = property(lambda self: self.all["responder"][0])
    responders = property(lambda self: self.all["responder"])
    writer = property(lambda self: self.all["writer"][0])
    api = property(lambda self: self.all["api"][0])

    @property
    def services(self):
        return [service for services in self.all.values() for service in services]

    @property
    def processes(self):
        return [self.broker, self.postgres, *self.services]

    def start(self):
        for process in self.processes:
            process.start()
        self.wait_ready()
        return self

    def wait_ready(self):
        until(self.broker.answers, START_S, "%s answers" % self.broker.name)
        until(self.postgres.answers, START_S, "PostgreSQL answers")
        for service in self.services:
            if service.child is not None:
                service.wait_ready()

    def close(self):
        """Ends everything, and returns which services did not end as they should."""
        bad = []
        for process in [*self.services, self.broker, self.postgres]:
            if not process.is_running():
                continue
            try:
                code = process.stop()
                if code and isinstance(process, Service):
                    bad.append("%s ended with %d" % (process.name, code))
            except AssertionError as err:
                bad.append(str(err))
        self.http.close()
        for process in self.processes:
            process.tail()
        shutil.rmtree(self.folder, ignore_errors=True)
        return bad

    # ---- what tests do with it ----

    def post(self, path, body, timeout=15, **headers):
        """body: an event, a list of events (NDJSON), or bytes. Header names with _ for -."""
        kind = "application/json"
        if isinstance(body, list):
            body, kind = b"".join(json.dumps(event).encode() + b"\n" for event in body), "application/x-ndjson"
        elif not isinstance(body, bytes):
            body = json.dumps(body).encode()
        fields = {"Content-Type": kind, **{name.replace("_", "-"): value for name, value in headers.items()}}
        return self.http.post(self.ingestion.url + path, data=body, headers=fields, timeout=timeout)

    def get(self, path, **params):
        """From the api; the body of a 200."""
        answer = self.api.get(path, params=params)
        assert answer.status_code == 200, "%s: %d %s" % (path, answer.status_code, answer.text)
        return answer.json()

    def pages(self, path, member, **params):
        """Every row of every page, and the sizes of the pages."""
        rows, sizes = [], []
        while True:
            page = self.get(path, **params)
            rows += page[member]
            sizes.append(len(page[member]))
            if page["next"] is None:
                return rows, sizes
            params["cursor"] = page["next"]

    def query(self, sql, *parameters):
        with psycopg.connect(self.postgres.url, connect_timeout=5) as connection:
            return connection.execute(sql, parameters).fetchall()

    def execute(self, sql):
        with psycopg.connect(self.postgres.url, connect_timeout=5) as connection:
            connection.execute(sql)

    def count(self, table, where="true", *parameters):
        return self.query("SELECT count(*) FROM %s WHERE %s" % (table, where), *parameters)[0][0]

    def wire(self):
        return self.broker.wire()

    def outstanding(self):
        with self.wire() as wire:
            return sum(wire.outstanding(stream, name) for stream, name in CONSUMERS)

    def wait_settled(self, seconds=30):
        until(lambda: self.outstanding() == 0, seconds, "everything is settled")

    def dead_letters(self):
        with self.wire() as wire:
            return list(wire.messages("DEAD"))


def place(sequence):
    """A place in a stream, to be compared: "7", or "1700000000000-2"."""
    return tuple(int(part) for part in sequence.split("-"))


class Connection:
    """A kept-alive client for load: quicker than requests, and no retries of its own."""

    def __init__(self, service, timeout=10):
        self.address, self.timeout, self.connection = ("127.0.0.1", service.port), timeout, None

    def post(self, path, body, kind="application/json", headers=None):
        """(status, body), or (0, b"") when there was no answer."""
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection(*self.address, timeout=self.timeout)
            self.connection.request("POST", path, body, {"Content-Type": kind, **(headers or {})})
            answer = self.connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException):
            self.close()
            return 0, b""

    def close(self):
        if self.connection is not None:
            self.connection.close()
            self.connection = None
