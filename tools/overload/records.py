# SPDX-License-Identifier: GPL-2.0-only
"""From records of requests to figures: who was answered within the objective, when, and how evenly. Pure."""
import math
import struct

RECORD = struct.Struct("=QIHBx")
UNANSWERED = 0xffffffff
WINDOW_S = 0.1
SMOOTHED_S = 1.0
BACK_AT = 0.99


def read(path):
    """[(due in s of CLOCK_MONOTONIC, response in s or None, user)] by when they were due."""
    with open(path, "rb") as source:
        return sorted(((due / 1e9, None if response == UNANSWERED else response / 1e6, user)
                       for due, response, user, _ in RECORD.iter_unpack(source.read())), key=lambda record: record[0])


def between(records, begin, end):
    return [record for record in records if begin <= record[0] < end]


def percentile(values, part):
    """Nearest rank, of all that was asked: what had no answer waits for ever."""
    ranked = sorted(values)
    return ranked[max(0, math.ceil(part * len(ranked)) - 1)] if ranked else None


def responses(records):
    return [math.inf if response is None else response for _, response, _ in records]


def met(record, objective_s):
    return record[1] is not None and record[1] <= objective_s


def share_met(records, objective_s):
    return sum(met(record, objective_s) for record in records) / len(records) if records else None


def windows(records, begin, end, objective_s):
    """[(asked, answered within the objective)] of each window."""
    counts = [[0, 0] for _ in range(max(1, round((end - begin) / WINDOW_S)))]
    for record in between(records, begin, end):
        window = counts[min(len(counts) - 1, int((record[0] - begin) / WINDOW_S))]
        window[0] += 1
        window[1] += met(record, objective_s)
    return counts


def back_after(counts):
    """Seconds until the first window from which on, over the second that follows, BACK_AT were answered in time."""
    span = round(SMOOTHED_S / WINDOW_S)
    for i in range(len(counts) - span + 1):
        asked = sum(window[0] for window in counts[i:i + span])
        if asked and sum(window[1] for window in counts[i:i + span]) >= BACK_AT * asked:
            return i * WINDOW_S
    return None


def goodput(records, begin, end, within_s=math.inf):
    """Requests a second that were answered before their users gave up, or within so long."""
    return sum(met(record, within_s) for record in between(records, begin, end)) / (end - begin)


def unevenness(groups, begin, end):
    """How far users' answered requests lie from their mean, relative to it: {maximum, deviation}. `groups` are
    (records, users); the numbers of users of different groups are apart."""
    counts = []
    for records, users in groups:
        own = [0] * users
        for record in between(records, begin, end):
            own[record[2]] += met(record, math.inf)
        counts += own
    mean = sum(counts) / len(counts)
    if not mean:
        return {"maximum": None, "deviation": None, "mean": 0}
    return {"maximum": max(abs(count - mean) for count in counts) / mean,
            "deviation": math.sqrt(sum((count - mean) ** 2 for count in counts) / len(counts)) / mean, "mean": mean}
