"""A small Redis client over the text protocol: sees the streams as redis-cli does."""

import socket

from nats_wire import Message


class RedisError(Exception):
    pass


def key(stream, suffix=""):
    return "{millrace:%s}%s" % (stream, suffix)


class Redis:
    """What Nats offers of streams, in the same words."""

    def __init__(self, port, timeout=5):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout)
        self.stream_in = self.socket.makefile("rb")

    def close(self):
        self.stream_in.close()
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def call(self, *arguments):
        parts = [a if isinstance(a, bytes) else str(a).encode() for a in arguments]
        self.socket.sendall(b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%s\r\n" % (len(p), p) for p in parts))
        return self.reply()

    def reply(self):
        line = self.stream_in.readline()
        if not line:
            raise RedisError("the server closed the connection")
        kind, rest = line[:1], line[1:].rstrip()
        if kind == b"-":
            raise RedisError(rest.decode())
        if kind == b"$":
            return None if rest == b"-1" else self.stream_in.read(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        return int(rest) if kind == b":" else rest

    # ---- streams ----

    def publish(self, subject, data, headers=None):
        """By hand; its place in the stream."""
        headers = dict(headers or {})
        fields = ["subject", subject, "Nats-Msg-Id", headers.pop("Nats-Msg-Id", ""), "data", data]
        for pair in headers.items():
            fields += pair
        return self.call("XADD", key(self.stream_of(subject)), "*", *fields).decode()

    def stream_of(self, subject):
        for name in self.call("SMEMBERS", "millrace:streams"):
            pattern = self.call("HGET", key(name.decode(), ":meta"), "subjects")  # None: it has vanished
            if pattern and subject.startswith(pattern.decode().rstrip(">")):
                return name.decode()
        raise RedisError("no stream takes %s" % subject)

    def count(self, stream):
        return self.call("XLEN", key(stream))

    def last(self, stream):
        """Changes with every message that is stored."""
        return pairs(self.call("XINFO", "STREAM", key(stream)))["last-generated-id"].decode()

    def groups(self, stream):
        return {group["name"].decode(): group for group in map(pairs, self.call("XINFO", "GROUPS", key(stream)))}

    def outstanding(self, stream, name):
        """As KEDA's redis-streams scaler sees it: lag, and what is pending."""
        group = self.groups(stream)[name]
        return group["lag"] + group["pending"]

    def redelivered(self, stream, name):
        return sum(entry[3] > 1 for entry in self.call("XPENDING", key(stream), name, "-", "+", 10000))

    def delete_stream(self, stream):
        for found in self.call("KEYS", key(stream).replace("{", "\\{") + "*"):
            self.call("DEL", found)

    def message(self, stream, sequence):
        found = self.call("XRANGE", key(stream), sequence, sequence)
        return entry_message(found[0])

    def messages(self, stream):
        """All of a small stream."""
        return [entry_message(entry) for entry in self.call("XRANGE", key(stream), "-", "+")]


def pairs(flat):
    return {name.decode(): value for name, value in zip(flat[::2], flat[1::2])}


def entry_message(entry):
    fields = {name.decode(): value for name, value in zip(entry[1][::2], entry[1][1::2])}
    subject, data = fields.pop("subject").decode(), fields.pop("data")
    return Message(subject, {name: value.decode() for name, value in fields.items()}, data, entry[0].decode())
