# SPDX-License-Identifier: GPL-2.0-only
"""Nanoseconds a packet of Spillway above the floor of the same run (parse and drop), and packets a second beside other
limiters. A generator, a veth pair and a receiver share one processor, so that every row holds generator and driver; what a
receiver costs is its difference to the floor. Runs are interleaved; medians are quoted, with the spread of the runs."""
import argparse
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

    def __init__(self, name, users, distribution, family=4, services=1, limit=1000000, tenants=0, denied=0, extra=""):
        self.name, self.users, self.distribution = name, users, distribution
        self.family, self.services, self.limit, self.tenants = family, services, limit, tenants
        self.denied, self.extra = denied, extra

    def warm_up(self):
        """Seconds until everybody has come, and often enough to be written down (and the first look at the table, which is
        long, is over): a table that fills is another measurement than one that is full."""
        if self.users >= 1000000:
            return 6
        return 4 if self.users >= 100000 or self.distribution == "unique" else 0.1


CASES = [
    Case("1 user", 1, "uniform"),
    Case("1,000 users", 1000, "uniform"),
    Case("1,000 users, 1,000 services", 1000, "uniform", services=1000),
    Case("1,000 users, all over their limit", 1000, "uniform", limit=100),
    Case("100,000 users", 100000, "uniform"),
    Case("1,000 users, 10,000 tenants", 1000, "uniform", tenants=10000),
    Case("100,000 users, 10,000 tenants", 100000, "uniform", tenants=10000),
    Case("1,000 users, 60,000 others denied", 1000, "uniform", denied=60000),
    Case("1,000 users, with a capacity", 1000, "uniform", extra="capacity: 100M"),
    Case("1,000 users, a limit in bytes", 1000, "uniform", extra="limit: {bytes_per_second: 1GB}"),
    Case("1 user, by payload", 1, "uniform", extra="user: {kind: payload, offset: 2, length: 8}"),
    Case("1,000 users, by tag, nobody named", 1000, "uniform", extra="user: {kind: tag}"),
    Case("1,000,000 users", 1000000, "uniform"),
    Case("1,000,000 users, Zipf", 1000000, "zipf"),
    Case("never repeating", 1, "unique"),
    Case("IPv6, 1,000 users", 1000, "uniform", family=6),
    Case("IPv6, 1,000,000 users", 1000000, "uniform", family=6),
    Case("IPv6, never repeating", 1, "unique", family=6),
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
        service.update([case.extra.split(": ", 1)] if case.extra else [])
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
            out.write("  - {" + ", ".join(f"{key}: {value}" for key, value in service.items()) + "}\n")
        return path

    def flood(self, case, seconds):
        """Nanoseconds a packet of generator, veth and receiver."""
        sources = (ALL_SOURCES if case.distribution == "unique" else SOURCES)[case.family]
        answer = run(*self.at(self.attacker, TRAFFIC, "--interface", "attack", "--destination-mac", EDGE_MAC,
                              "--destination", DESTINATION[case.family], "--port", "53", "--protocol", "udp",
                              "--size", "64", "--sources", sources, "--users", str(case.users),
                              "--distribution", case.distribution, "--seconds", str(seconds), "--json"))
        return 1e9 / json.loads(answer)["packets_per_second"]

    def measure_program(self, kind, case, seconds):
        ours = kind in ("spillway", "observed")
        arguments = ["spillway", "edge", self.config(case), self.pins] if ours else [kind, "edge"]
        with subprocess.Popen(self.at(self.edge, RECEIVER, *arguments), stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, text=True) as receiver:
            if receiver.stdout.readline().strip() != "ready":
                sys.exit(f"bench: {kind}: the receiver did not start")
            self.flood(case, case.warm_up())
            if kind == "spillway":  # "observed" is the same with the daemon's reading of the table beside it
                receiver.stdin.write("\n")
                receiver.stdin.flush()
            result = self.flood(case, seconds)
            receiver.stdin.close()
        return result

    def measure_filter(self, case, seconds, load, rules, unload):
        run("ip", "netns", "exec", self.edge, "ethtool", "-K", "edge", "gro", "on")
        run("ip", "netns", "exec", self.edge, *load, input=rules)
        try:
            return self.flood(case, seconds)
        finally:
            run("ip", "netns", "exec", self.edge, *unload)
            run("ip", "netns", "exec", self.edge, "ethtool", "-K", "edge", "gro", "off")

    def measure(self, kind, case, seconds):
        if kind == "nftables":
            return self.measure_filter(case, seconds, ["nft", "-f", "-"], NFT_RULES, ["nft", "flush", "ruleset"])
        if kind == "hashlimit":
            return self.measure_filter(case, seconds, ["iptables-restore"], IPTABLES_RULES,
                                       ["iptables", "-t", "raw", "-F", "PREROUTING"])
        return self.measure_program(kind, case, seconds)


def measure_case(world, case, kinds, rounds, seconds):
    runs = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            runs[kind].append(world.measure(kind, case, seconds))
    return runs


def row_of(case, runs):
    """Differences are taken round by round, between neighbours in time."""
    row = {"case": case.name, "nanoseconds": {}, "above_floor": {}}
    for kind, values in runs.items():
        above = [value - floor for value, floor in zip(values, runs["parse"])]
        row["nanoseconds"][kind] = {"median": statistics.median(values), "minimum": min(values), "maximum": max(values)}
        row["above_floor"][kind] = {"median": statistics.median(above), "minimum": min(above), "maximum": max(above)}
    return row


def print_table(rows, kinds):
    print(f"{'ns a packet above the floor':36}" + f"{'floor':>9}" +
          "".join(f"{kind:>18}" for kind in kinds if kind != "parse"))
    for row in rows:
        cells = "".join(f"{above['median']:>8.1f} ({above['minimum']:.0f}..{above['maximum']:.0f})".rjust(18)
                        for kind, above in row["above_floor"].items() if kind != "parse")
        print(f"{row['case']:36}{row['nanoseconds']['parse']['median']:>9.1f}{cells}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.7)
    parser.add_argument("--only", help="cases whose names hold this")
    parser.add_argument("--kinds", default="parse,spillway,line,drop,lru_hash,nftables,hashlimit")
    parser.add_argument("--json", default=f"{BUILD}/bench.json", help="where the figures go")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench: stopped"))
    kinds = options.kinds.split(",")

    rows = []
    with World() as world:
        for case in CASES:
            if options.only and options.only not in case.name:
                continue
            here = [kind for kind in kinds if case.family == 4 or kind not in ("nftables", "hashlimit")]
            rows.append(row_of(case, measure_case(world, case, here, options.rounds, options.seconds)))
            if sys.stderr.isatty():
                print(f"\r{len(rows)} of {len(CASES)} cases", end="", file=sys.stderr)
    print_table(rows, kinds)
    with open(options.json, "w", encoding="ascii") as out:
        json.dump({"rows": rows, "rounds": options.rounds, "seconds": options.seconds,
                   "kernel": os.uname().release}, out, indent=2)


if __name__ == "__main__":
    main()
