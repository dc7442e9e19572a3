"""A small NATS client over the text protocol: sees the streams as the stock tools do.

Only what the tests need: requests, publishes with headers, and the JetStream API on top of them.
"""

import base64
import dataclasses
import itertools
import json
import socket


class NatsError(Exception):
    pass


@dataclasses.dataclass
class Message:
    subject: str
    headers: dict
    data: bytes
    sequence: str = ""

    def json(self):
        return json.loads(self.data)

    def lines(self):
        return [json.loads(line) for line in self.data.splitlines() if line.strip()]


def parse_headers(raw):
    lines = raw.decode().split("\r\n")
    pairs = (line.split(":", 1) for line in lines[1:] if ":" in line)
    return lines[0], {name.strip(): value.strip() for name, value in pairs}


def format_headers(headers):
    return ("NATS/1.0\r\n" + "".join("%s: %s\r\n" % pair for pair in headers.items()) + "\r\n").encode()


class Nats:
    def __init__(self, port, timeout=5):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.stream_in = self.socket.makefile("rb")
        self.numbers = itertools.count(1)
        self.inbox = "_INBOX.tests.%d" % id(self)
        self.expect(b"INFO")
        options = {"verbose": False, "pedantic": False, "headers": True, "no_responders": True,
                   "lang": "python", "version": "0", "name": "tests"}
        self.send(b"CONNECT " + json.dumps(options).encode() + b"\r\nPING\r\n")
        self.expect(b"PONG")
        self.send(b"SUB %s.* 1\r\n" % self.inbox.encode())

    def close(self):
        self.stream_in.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        self.socket.sendall(data)

    def expect(self, word):
        """The line that starts with the word; answers pings on the way."""
        while True:
            line = self.stream_in.readline()
            if not line:
                raise NatsError("the server closed the connection")
            if line.startswith(b"PING"):
                self.send(b"PONG\r\n")
            elif line.startswith(b"-ERR"):
                raise NatsError(line.decode().strip())
            elif line.startswith(word):
                return line

    def next_message(self):
        while True:
            line = self.expect(b"")
            fields = line.split()
            if fields and fields[0] in (b"MSG", b"HMSG"):
                break
        payload = self.stream_in.read(int(fields[-1]) + 2)[:-2]
        if fields[0] == b"MSG":
            return Message(fields[1].decode(), {}, payload)
        size = int(fields[-2])
        status, headers = parse_headers(payload[:size])
        if " 503" in status:
            raise NatsError("no responders")
        return Message(fields[1].decode(), headers, payload[size:])

    def request(self, subject, data=b"", headers=None):
        reply = "%s.%d" % (self.inbox, next(self.numbers))
        if headers:
            raw = format_headers(headers)
            self.send(b"HPUB %s %s %d %d\r\n" % (subject.encode(), reply.encode(), len(raw),
                                                 len(raw) + len(data)) + raw + data + b"\r\n")
        else:
            self.send(b"PUB %s %s %d\r\n" % (subject.encode(), reply.encode(), len(data)) + data + b"\r\n")
        while True:
            message = self.next_message()
            if message.subject == reply:
                return message

    def api(self, subject, body=None):
        answer = self.request("$JS.API." + subject, json.dumps(body).encode() if body else b"").json()
        if "error" in answer:
            raise NatsError("%s: %s" % (subject, answer["error"]))
        return answer

    # ---- JetStream ----

    def publish(self, subject, data, headers=None):
        """Into a stream; its place there."""
        ack = self.request(subject, data, headers).json()
        if "error" in ack:
            raise NatsError(str(ack["error"]))
        return str(ack["seq"])

    def stream(self, name):
        return self.api("STREAM.INFO." + name)

    def count(self, name):
        return self.stream(name)["state"]["messages"]

    def last(self, stream):
        """Changes with every message that is stored."""
        return str(self.stream(stream)["state"]["last_seq"])

    def delete_stream(self, stream):
        self.api("STREAM.DELETE." + stream)

    def consumer(self, stream, name):
        return self.api("CONSUMER.INFO.%s.%s" % (stream, name))

    def redelivered(self, stream, name):
        return self.consumer(stream, name)["num_redelivered"]

    def outstanding(self, stream, name):
        """As KEDA's nats-jetstream scaler sees it."""
        info = self.consumer(stream, name)
        return info["num_pending"] + info["num_ack_pending"]

    def message(self, stream, sequence):
        found = self.api("STREAM.MSG.GET." + stream, {"seq": int(sequence)})["message"]
        headers = parse_headers(base64.b64decode(found["hdrs"]))[1] if "hdrs" in found else {}
        return Message(found["subject"], headers, base64.b64decode(found.get("data", "")),
                       str(found["seq"]))

    def messages(self, stream):
        """All of a small stream."""
        state = self.stream(stream)["state"]
        for sequence in range(state["first_seq"], state["last_seq"] + 1):
            try:
                yield self.message(stream, sequence)
            except NatsError:
                continue  # removed meanwhile, or long ago
