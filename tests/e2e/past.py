#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Writes a history of some weeks whose truth is known: past.py DATABASE WEEKS [END]

Packs rows by the documents (user/observe/history_file.h, samples.h) and not by the program's own code. Service `web` has
a daily and a weekly pattern, 1,000 packets/s on average, of 100 bytes, a tenth of them spilled; the host has the same.
"""
import math
import os
import random
import sqlite3
import sys
import time

PACKETS, BYTES, SPILLED, PEAK, USERS, SECONDS = 0, 1, 2, 5, 6, 11


def rate(at):
    day = at % 86400 / 86400
    weekend = (at // 86400 + 3) % 7 >= 5
    return 1000 * math.exp(0.6 * math.sin(2 * math.pi * (day - 0.3))) * (0.7 if weekend else 1)


def number(value):
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def column(values):
    out, last, run = b"", 0, 0
    for value in values:
        change = value - last
        last = value
        if change == 0:
            run += 1
            continue
        if run:
            out += b"\0" + number(run - 1)
            run = 0
        out += number(change * 2 if change > 0 else -change * 2 - 1)
    return out + (b"\0" + number(run - 1) if run else b"")


def pack(samples, count):
    """samples: {place: {field: value}}"""
    mask = sum(1 << f for f in range(12) if any(s.get(f, 0) for s in samples.values()))
    bits = bytearray((count + 7) // 8)
    for place in samples:
        bits[place // 8] |= 1 << place % 8
    columns = b"".join(column([samples[p].get(f, 0) for p in sorted(samples)]) for f in range(12) if mask >> f & 1)
    return b"\1" + number(mask) + bytes(bits) + columns


def main():
    path, weeks = sys.argv[1], float(sys.argv[2])
    end = (int(sys.argv[3]) if len(sys.argv) > 3 else int(time.time())) // 900 * 900
    random.seed(1)
    if not os.path.exists(path):
        sys.exit(f"{path}: there is none: let the program make it")
    database = sqlite3.connect(path)
    database.execute("INSERT OR IGNORE INTO services(name) VALUES('web')")
    web, = database.execute("SELECT id FROM services WHERE name = 'web'").fetchone()
    for name, per_row, step in (("quarters", 96, 900), ("minutes", 60, 60)):
        start = end - int(weeks * 7 * 86400) if name == "quarters" else end - 86400
        rows = {}
        for at in range(start // step * step, end, step):
            packets = int(rate(at) * step * math.exp(random.gauss(0, 0.05)))
            rows.setdefault(at // step // per_row, {})[at // step % per_row] = {
                PACKETS: packets, BYTES: packets * 100, SPILLED: packets // 10, PEAK: packets // step * 2,
                USERS: 20, SECONDS: step}
        for row, samples in rows.items():
            for service in 0, web:
                database.execute(f"INSERT OR REPLACE INTO {name} VALUES(?, ?)",
                                 (row << 16 | service, pack(samples, per_row)))
    database.commit()


if __name__ == "__main__":
    main()
