#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Readers of /api/v1/events on the daemon's UNIX socket, of the kinds that do harm, and what they were told.

readers.py SOCKET slow EVENTS   one reads nothing while EVENTS events happen, then all that is there: prints how many events
                                came, and how many it was told were lost
readers.py SOCKET many READERS  that many at once: prints how many were served and how many refused, and stays until it
                                is killed
"""
import json
import resource
import select
import signal
import socket
import sys


def connect(path):
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)  # waits where the daemon's backlog is full
    s.settimeout(20)
    return s


def ask(s, path="/api/v1/events"):
    s.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())


def post(s, path, body):
    """One change; returns its status. The connection stays."""
    text = json.dumps(body).encode()
    s.sendall(f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(text)}\r\n\r\n".encode() + text)
    answer = b""
    while b"}" not in answer:
        piece = s.recv(65536)
        if not piece:
            sys.exit("the daemon closed the connection")
        answer += piece
    return int(answer.split()[1])


def slow(path, count):
    reader = connect(path)
    ask(reader)
    head = reader.recv(4096)
    assert b"200 OK" in head and b"text/event-stream" in head, head
    while b"happen\n\n" not in head:  # the greeting: from here on it misses nothing
        head += reader.recv(4096)
    actor = connect(path)
    for i in range(count):
        status = post(actor, "/api/v1/deny", {"prefixes": [f"2001:db8:{i % 10}::/48"], "for_seconds": 3600})
        assert status == 200, status
    came = lost = 0
    rest = head.split(b"happen\n\n", 1)[1]
    deadline = 60
    while came + lost < count and deadline:
        if not select.select([reader], [], [], 1)[0]:
            deadline -= 1
            continue
        piece = reader.recv(65536)
        assert piece, "the daemon let go of a reader that was only slow"
        rest += piece
        *lines, rest = rest.split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                event = json.loads(line[6:])
                if event["event"] == "lost":
                    lost += event["count"]
                elif event["event"] == "lists":
                    came += 1
    print(came, lost)


def many(path, count):
    resource.setrlimit(resource.RLIMIT_NOFILE, (count + 100, count + 100))
    readers = []
    for _ in range(count):
        s = connect(path)
        ask(s)
        readers.append(s)
    heads = [s.recv(4096) for s in readers]
    served = sum(b" 200 OK" in head for head in heads)
    refused = sum(b" 503 " in head for head in heads)
    print(served, refused, flush=True)
    signal.pause()


if __name__ == "__main__":
    if sys.argv[2] == "slow":
        slow(sys.argv[1], int(sys.argv[3]))
    else:
        many(sys.argv[1], int(sys.argv[3]))
