# SPDX-License-Identifier: GPL-2.0-only
"""Nanoseconds a packet of Spillway above the floor of the same run (parse and drop), and beside other limiters. A
generator, a veth pair and a receiver share one processor, so that every figure holds generator and driver; what a
receiver costs is its difference to the floor. While one generator runs, the receivers take turns of some milliseconds: a
shared machine's hours are the same to all of them. Medians are quoted, with the quartiles of the turns."""
import argparse
import contextlib
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

BUILD = os.environ.get("O", "build")
TRAFFIC = f"{BUILD}/spillway-traffic"
RECEIVER = f"{BUILD}/spillway-receiver"
EDGE_MAC, SOURCE_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"
SOURCES = {4: "10.0.0.0/8", 6: "2001:db8::/32"}
ALL_SOURCES = {4: "0.0.0.0/0", 6: "2001::/16"}
SECONDS_MAX = 3600  # of a generator that nobody ends
DESTINATION = {4: "192.0.2.1", 6: "2001:db8:ffff::1"}

NFT_RULES = """table netdev bench {
	set users { type ipv4_addr; size 1048576; flags dynamic,timeout; timeout 60s; }
	chain ingress {
		type filter hook ingress device "edge" priority 0;
		udp dport 53 update @users { ip saddr limit rate over 1000000/second } drop
		drop
	}
}
"""
IPTABLES_RULES = """*raw
-A PREROUTING -i edge -p udp --dport 53 -m hashlimit --hashlimit-above 1000000/sec --hashlimit-mode srcip """ \
    """--hashlimit-name bench --hashlimit-htable-size 1048576 --hashlimit-htable-max 1048576 -j DROP
-A PREROUTING -i edge -j DROP
COMMIT
"""


class Case:
    """One row: who sends, and to how many services."""

    def __init__(self, name, users, distribution, family=4, services=1, limit=1000000, tenants=0, denied=0, extra=()):
        self.name, self.users, self.distribution = name, users, distribution
        self.family, self.services, self.limit, self.tenants = family, services, limit, tenants
        self.denied, self.extra = denied, dict(extra)

    def is_large(self):
        """More users than a processor's caches hold."""
        return self.users >= 100000 or self.distribution == "unique"

    def warm_up_ms(self):
        """Until everybody has come, and often enough to be written down (and the first look at the table, which is
        long, is over): a table that fills is another measurement than one that is full."""
        return 300 if not self.is_large() else 4000 if self.users == 100000 else 6000

    def turn_ms(self):
        """Of one receiver, and what of it goes by before it counts: until its table is in the caches, as far as it ever
        is."""
        return (300, 150) if self.is_large() else (40, 8)


CASES = [
    Case("1 user", 1, "uniform", limit=10000000),
    Case("1,000 users", 1000, "uniform"),
    Case("1,000 users, 1,000 services", 1000, "uniform", services=1000),
    Case("1,000 users, all over their limit", 1000, "uniform", limit=10),
    Case("100,000 users", 100000, "uniform"),
    Case("1,000,000 users", 1000000, "uniform"),
    Case("1,000,000 users, Zipf", 1000000, "zipf"),
    Case("never repeating", 1, "unique"),
    Case("IPv6, 1,000 users", 1000, "uniform", family=6),
    Case("IPv6, 1,000,000 users", 1000000, "uniform", family=6),
    Case("IPv6, never repeating", 1, "unique", family=6),
    Case("1,000 users, a capacity", 1000, "uniform", extra={"capacity": "100M"}),
    Case("1,000 users, a capacity and a level that move", 1000, "uniform",
         extra={"adaptive": "{minimum: 1, maximum: 10M}", "capacity": "100M", "limit": None}),
    Case("1,000 users, a limit in bytes", 1000, "uniform", extra={"limit": "{bytes_per_second: 1GB}"}),
    Case("1 user, by payload", 1, "uniform", limit=10000000, extra={"user": "{kind: payload, offset: 2, length: 8}"}),
    Case("1,000 users, by tag, nobody named", 1000, "uniform", extra={"user": "{kind: tag}"}),
    Case("1,000 users, 10,000 tenants", 1000, "uniform", tenants=10000),
    Case("100,000 users, 10,000 tenants", 100000, "uniform", tenants=10000),
    Case("1,000 users, 60,000 others denied", 1000, "uniform", denied=60000),
]


def run(*command, **options):
    return subprocess.run(command, check=True, text=True, capture_output=True, **options).stdout


class World:
    """Two namespaces and the veth pair between them; removed with everything in them."""

    def __init__(self):
        self.edge, self.attacker = f"swb-{os.getpid()}-edge", f"swb-{os.getpid()}-attacker"
        self.pins = f"/sys/fs/bpf/spillway-bench-{os.getpid()}"
        self.directory = tempfile.mkdtemp(prefix="spillway-bench-")

    def __enter__(self):
        run("ip", "netns", "add", self.edge)
        run("ip", "netns", "add", self.attacker)
        run("ip", "-n", self.edge, "link", "add", "edge", "address", EDGE_MAC, "type", "veth",
            "peer", "name", "attack", "address", SOURCE_MAC, "netns", self.attacker)
        for place, device in ((self.edge, "edge"), (self.attacker, "attack")):
            run("ip", "netns", "exec", place, "sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=1")
            run("ip", "-n", place, "link", "set", device, "up")
        return self

    def __exit__(self, *_):
        for place in (self.edge, self.attacker):
            subprocess.run(["ip", "netns", "del", place], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)

    def at(self, place, *command):
        return ["nsenter", f"--net=/run/netns/{place}", *command]

    def config(self, case):
        """One service, or many with ranges of which the measured one is the last; tenants have 100,000 prefixes."""
        path = f"{self.directory}/edge.yaml"
        service = {"name": "dns", "protocol": "udp", "ports": "[53]",
                   "user": "{kind: %s}" % ("tenant" if case.tenants else "source"),
                   "limit": f"{{packets_per_second: {case.limit}, burst: {case.limit}}}"}
        service.update(case.extra)
        prefixes = [f"10.{n >> 9}.{n >> 1 & 255}.{128 * (n & 1)}/25" for n in range(100000)]
        with open(path, "w", encoding="ascii") as out:
            out.write("interfaces: [edge]\nmode: enforce\nlisten: null\n")
            out.write("tenants:\n" if case.tenants else "")
            for i in range(case.tenants):
                out.write(f"  - {{name: t{i}, prefixes: [{','.join(prefixes[i::case.tenants])}]}}\n")
            out.write("deny:\n" if case.denied else "")
            for i in range(case.denied):
                out.write(f"  - 172.{16 + (i >> 14)}.{i >> 6 & 255}.{4 * (i & 63)}\n")
            out.write("services:\n")
            for i in range(case.services - 1):
                out.write(f"  - {{name: s{i}, protocol: udp, ports: [{1000 + 20 * i}-{1009 + 20 * i}]}}\n")
            out.write("  - {" + ", ".join(f"{key}: {value}" for key, value in service.items() if value) + "}\n")
        return path

    @contextlib.contextmanager
    def flood(self, case):
        """The generator, on a processor of its own where there are two, until it is ended."""
        sources = (ALL_SOURCES if case.distribution == "unique" else SOURCES)[case.family]
        alone = ["taskset", "--cpu-list", str(max(os.sched_getaffinity(0)))]
        command = self.at(self.attacker, *alone, TRAFFIC, "--interface", "attack", "--destination-mac", EDGE_MAC,
                          "--destination", DESTINATION[case.family], "--port", "53", "--protocol", "udp", "--size", "64",
                          "--sources", sources, "--users", str(case.users), "--distribution", case.distribution,
                          "--seconds", str(SECONDS_MAX))
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as flood:
            try:
                yield
            finally:
                flood.terminate()

    def receiver(self, *spillway):
        return Receiver(self.at(self.edge, RECEIVER, "edge", *spillway))


class Receiver:
    """What takes the packets, in turn: receiver.c says how it is spoken to."""

    def __init__(self, command):
        first = {min(os.sched_getaffinity(0))}
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        preexec_fn=lambda: os.sched_setaffinity(0, first))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait()

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().strip()
        if not answer:
            sys.exit(f"bench: {line}: the receiver gave up")
        return answer

    def turn(self, kind, case):
        """Nanoseconds a packet. `observed` is Spillway with the daemon's reading of the table beside it, which it does
        once a second."""
        turn_ms, lost_ms = case.turn_ms()
        if kind != "observed":
            self.ask(f"attach {kind}")
            self.ask(f"wait {lost_ms}")
            return float(self.ask(f"measure {turn_ms}"))
        self.ask("attach spillway")
        self.ask("observe on")
        result = float(self.ask("measure 2000"))
        self.ask("observe off")
        return result


class Filter:
    """Rules of the kernel's own on the interface, as long as they are wanted."""

    def __init__(self, world, load, rules, unload):
        self.world, self.load, self.rules, self.unload = world, load, rules, unload

    def at_edge(self, *command, **options):
        run("ip", "netns", "exec", self.world.edge, *command, **options)

    def __enter__(self):
        self.at_edge("ethtool", "-K", "edge", "gro", "on")  # else veth takes no redirected frame without a program
        self.at_edge(*self.load, input=self.rules)

    def __exit__(self, *_):
        self.at_edge(*self.unload)
        self.at_edge("ethtool", "-K", "edge", "gro", "off")


FILTERS = {"nftables": (["nft", "-f", "-"], NFT_RULES, ["nft", "flush", "ruleset"]),
           "hashlimit": (["iptables-restore"], IPTABLES_RULES, ["iptables", "-t", "raw", "-F", "PREROUTING"])}


def measure_programs(receiver, case, kinds, rounds):
    """Forwards and back by turns, so that none has always the same one before it."""
    runs = {kind: [] for kind in kinds}
    receiver.ask("attach spillway")
    receiver.ask("observe on")
    receiver.ask(f"wait {case.warm_up_ms()}")
    receiver.ask("observe off")
    for kind in kinds:
        if kind in ("line", "lru_hash"):
            receiver.ask(f"attach {kind}")
            receiver.ask(f"wait {case.warm_up_ms()}")
    for number in range(rounds):
        for kind in kinds if number % 2 else reversed(kinds):
            runs[kind].append(receiver.turn(kind, case))
    return runs


def measure_filter(world, case, kind, rounds):
    with Filter(world, *FILTERS[kind]), world.receiver() as receiver, world.flood(case):
        receiver.ask(f"wait {case.warm_up_ms()}")
        return [float(receiver.ask(f"measure {case.turn_ms()[0]}")) for _ in range(rounds)]


def measure_case(world, case, kinds, rounds):
    """Where memory decides, by which pages the tables got as well: so they are made anew twice."""
    loads = 3 if case.is_large() else 1
    runs = {kind: [] for kind in kinds}
    programs = [kind for kind in kinds if kind not in FILTERS]
    for _ in range(loads):
        with world.receiver(world.config(case), world.pins) as receiver:
            receiver.ask("attach drop")  # veth takes redirected frames then
            with world.flood(case):
                for kind, values in measure_programs(receiver, case, programs, rounds // loads).items():
                    runs[kind] += values
    for kind in kinds:
        if kind in FILTERS:
            runs[kind] = measure_filter(world, case, kind, len(runs["parse"]))
    return runs


def summary(values):
    low, median, high = statistics.quantiles(values, n=4)
    return {"median": median, "lower_quartile": low, "upper_quartile": high}


def row_of(case, runs):
    """Differences are taken round by round, between neighbours in time."""
    above = {kind: [value - floor for value, floor in zip(values, runs["parse"])] for kind, values in runs.items()}
    return {"case": case.name, "nanoseconds": {kind: summary(values) for kind, values in runs.items()},
            "above_floor": {kind: summary(values) for kind, values in above.items()}}


def print_head(kinds):
    print(f"{'ns a packet above the floor':46}" + f"{'floor':>9}" +
          "".join(f"{kind:>18}" for kind in kinds if kind != "parse"), flush=True)


def print_row(row):
    cells = "".join(f"{above['median']:>8.1f} ({above['lower_quartile']:.0f}..{above['upper_quartile']:.0f})".rjust(18)
                    for kind, above in row["above_floor"].items() if kind != "parse")
    print(f"{row['case']:46}{row['nanoseconds']['parse']['median']:>9.1f}{cells}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=21,
                        help="turns of each receiver; of few users three times as many")
    parser.add_argument("--only", help="cases whose names hold this")
    parser.add_argument("--kinds", default="parse,spillway,line,drop,lru_hash,nftables,hashlimit")
    parser.add_argument("--json", default=f"{BUILD}/bench.json", help="where the figures go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    kinds = options.kinds.split(",")

    rows = []
    print_head(kinds)
    with World() as world:
        for case in CASES:
            if options.only and options.only not in case.name:
                continue
            here = [kind for kind in kinds if case.family == 4 or kind not in ("nftables", "hashlimit")]
            rows.append(row_of(case, measure_case(world, case, here, options.rounds * (1 if case.is_large() else 3))))
            print_row(rows[-1])
    with open(options.json, "w", encoding="ascii") as out:
        json.dump({"rows": rows, "rounds": options.rounds, "kernel": os.uname().release}, out, indent=2)


if __name__ == "__main__":
    main()
