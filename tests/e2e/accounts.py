# SPDX-License-Identifier: GPL-2.0-only
"""Clients of the example server: each logs in to an account from an address, then all send lines, a packet each.

    accounts.py SERVER PORT LINES SECONDS FIRST-ACCOUNT..LAST FIRST-HOST..LAST

One account at many addresses (10.97.1.HOST), or many at one; prints how many of their lines were answered in that time.
"""

import select
import socket
import sys
import time


def span(words):
    first, last = words.split("..")
    return range(int(first), int(last) + 1)


def login(server, host, account):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    client.bind((f"10.97.1.{host}", 0))
    client.settimeout(60)
    client.connect(server)
    client.send(f"LOGIN {account}\n".encode())
    welcome = client.recv(100).decode()
    if welcome != f"WELCOME {account}\n":
        sys.exit(welcome)
    client.setblocking(False)
    return client


def answers(clients, seconds):
    bytes_answered = 0
    for client in select.select(clients, [], [], seconds)[0]:
        bytes_answered += len(client.recv(65536))
    return bytes_answered


def main():
    server, lines, seconds = (sys.argv[1], int(sys.argv[2])), int(sys.argv[3]), float(sys.argv[4])
    accounts, hosts = span(sys.argv[5]), span(sys.argv[6])
    clients = [login(server, host, account) for account in accounts for host in hosts]
    answered, end = 0, time.monotonic() + seconds
    for _ in range(lines):
        for client in clients:
            client.send(b"x\n")
        answered += answers(clients, 0.02)
    while answered < 2 * lines * len(clients) and time.monotonic() < end:
        answered += answers(clients, 0.1)
    print(answered // 2)


main()
