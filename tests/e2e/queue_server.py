# SPDX-License-Identifier: GPL-2.0-only
"""A server that can do so much and no more: queue_server.py ADDRESS MILLISECONDS PORT... [--silent PORT...]. It answers
DNS queries on all its ports one after the other, each of which takes it that long, whatever the machine. Queries that
wait lie in the sockets' buffers. What comes to the silent ports is read and never answered."""
import select
import socket
import sys
import time

address, service_s = sys.argv[1], float(sys.argv[2]) / 1e3
ports, _, silent = " ".join(sys.argv[3:]).partition("--silent")


def listen(port):
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.bind((address, int(port)))
    return listener


answering = [listen(port) for port in ports.split()]
reading = [listen(port) for port in silent.split()]
free_at = 0.0
while True:
    for waiting in select.select(answering + reading, [], [])[0]:
        query, peer = waiting.recvfrom(2048)
        if waiting in reading:
            continue
        free_at = max(free_at, time.monotonic()) + service_s
        time.sleep(max(0, free_at - time.monotonic()))
        # The query's header as an answer's with one record, and an A record (RFC 1035 section 4.1).
        answer = query[:2] + b"\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00" + query[12:]
        waiting.sendto(answer + b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x63\x00\x01", peer)
