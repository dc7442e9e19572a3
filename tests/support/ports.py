"""Chooses TCP ports on loopback and remembers them.

ports.py check|keep FILE NAME=PREFERRED...

FILE holds NAME=PORT lines. A NAME in the environment decides; else the remembered port; else the
preferred one when it is free; else any. A port that somebody else has taken is refused, with who; with
`keep` (ours are running) the remembered ones are taken to be ours.
"""

import glob
import os
import random
import socket
import sys


def is_free(port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen(1)
            return True
        except OSError:
            return False


def free_ports(count):
    """Distinct free ports below the range from which the kernel gives clients theirs, so that a server
    finds its port free when it comes back."""
    ports = set()
    while len(ports) < count:
        port = random.SystemRandom().randrange(15000, 32000)
        if is_free(port):
            ports.add(port)
    return sorted(ports)


def owner_of(port):
    """'nginx (pid 12)', as far as /proc lets us see; else ''."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = open(table).read().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rsplit(":", 1)[1], 16) == port:
                inodes.add("socket:[%s]" % fields[9])
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) in inodes:
                pid = link.split("/")[2]
                return "%s (pid %s)" % (open("/proc/%s/comm" % pid).read().strip(), pid)
        except OSError:
            continue
    return ""


def remembered(path):
    try:
        return dict(line.strip().split("=", 1) for line in open(path) if "=" in line)
    except OSError:
        return {}


def given(name):
    """The port that the environment asks for; None when it does not."""
    port = os.environ.get(name)
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        sys.exit("dev: %s='%s': want a port from 1 to 65535" % (name, port))
    return port or None


def choose(names, known, check):
    chosen = {}
    for name, preferred in names:
        port = given(name) or known.get(name)
        if port in chosen.values():
            sys.exit("dev: %s=%s: another one has this port" % (name, port))
        if port is None:
            taken = {int(p) for p in (*known.values(), *chosen.values())}
            port = preferred if is_free(int(preferred)) and int(preferred) not in taken else free_ports(1)[0]
        elif (check or port != known.get(name)) and not is_free(int(port)):
            sys.exit("dev: port %s (%s) is taken by %s: stop it, or choose another: %s=PORT ./dev up"
                     % (port, name, owner_of(int(port)) or "another process", name))
        chosen[name] = str(port)
    return chosen


def main():
    mode, path, names = sys.argv[1], sys.argv[2], [a.split("=") for a in sys.argv[3:]]
    chosen = choose(names, remembered(path), mode == "check")
    with open(path, "w") as out:
        out.writelines("%s=%s\n" % item for item in chosen.items())


if __name__ == "__main__":
    main()
