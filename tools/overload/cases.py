# SPDX-License-Identifier: GPL-2.0-only
"""What happens to the servers: who asks and floods beside the well-behaved, and how much. `capacity` is what a server
answers a second when it is asked for nothing but its best; the well-behaved ask for half of that together."""
from dataclasses import dataclass
from typing import Callable

import laboratory as lab

CROWD_USERS, RETRYING_USERS = 100, 100


@dataclass
class Case:
    name: str
    title: str
    start: Callable  # (service, capacity, seconds) -> what was started
    crowd: bool = False  # everybody is honest: goodput and equality count
    few: bool = True  # there is somebody over a fair share: who is under it must lose nothing
    wave_hz: float = 0
    searched_as: str = ""  # the nftables limit is that of another case


def few(service, capacity, seconds, *options):
    """Connections and requests that are meant where it is TCP; queries of addresses that nobody has where it is UDP."""
    if service.transport == "tcp" or options:
        return [lab.few_load(service, 10 * capacity, seconds, *options)]
    return [lab.raw_flood(service, 10 * capacity, seconds, "10.99.200.16/30", lab.FEW_USERS, "uniform")]


def forged(service, capacity, seconds):
    return [lab.raw_flood(service, 10 * capacity, seconds, "198.18.0.0/15", 2000, "uniform")]


def never_repeating(service, capacity, seconds):
    return [lab.raw_flood(service, 10 * capacity, seconds, "32.0.0.0/3", 1, "unique")]


def crowd(service, capacity, seconds):
    """With the well-behaved, who are part of it, three times the capacity."""
    return [lab.crowd_load(service, 2.5 * capacity, seconds, CROWD_USERS)]


def retry(service, capacity, seconds):
    """Half as much again as the capacity, if nobody had to try twice; each tries up to five times, 300 ms apart."""
    return [lab.crowd_load(service, capacity, seconds, RETRYING_USERS, "--timeout", 300, "--attempts", 5)]


def wave(hertz):
    return lambda service, capacity, seconds: few(service, capacity, seconds, "--wave", hertz)


def quiet(_service, _capacity, seconds):
    return [lab.Process(lab.ATTACKER, "sleep", seconds)]


CASES = [
    Case("few", "3 users, 10 times the capacity", few),
    Case("forged", "2,000 forged sources", forged),
    Case("never-repeating", "forged sources that never repeat", never_repeating),
    Case("crowd", "flash crowd, 3 times the capacity", crowd, crowd=True, few=False),
    Case("retry", "retry storm", retry, crowd=True, few=False),
    Case("wave-0.1", "3 users, square wave of 0.1 Hz", wave(0.1), wave_hz=0.1, searched_as="few"),
    Case("wave-1", "3 users, square wave of 1 Hz", wave(1), wave_hz=1, searched_as="few"),
    Case("wave-10", "3 users, square wave of 10 Hz", wave(10), wave_hz=10, searched_as="few"),
]
QUIET = Case("quiet", "nothing overloaded", quiet, few=False)
