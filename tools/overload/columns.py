# SPDX-License-Identifier: GPL-2.0-only
"""What stands before the servers: nothing, a limit for each source in nftables, or Spillway. It must not know cases."""
import http.client
import json
import os
import socket
import threading
import time

import laboratory as lab

# The well-behaved, where they send and behind what stands before the servers: the difference was spilled.
COUNTERS = """table ip overload_count {{
	counter of_tcp {{}}
	counter of_udp {{}}
	chain count {{
		type filter hook {hook} priority {priority};
		ip saddr 10.99.1.1-10.99.1.{last} tcp dport {web} counter name of_tcp
		ip saddr 10.99.1.1-10.99.1.{last} udp dport {dns} counter name of_udp
	}}
}}
"""
LIMIT = """table ip overload_limit {{
	set users {{ type ipv4_addr; size 65536; flags dynamic,timeout; timeout 10s; }}
	chain shed {{
		type filter hook prerouting priority -310;
		{match} update @users {{ ip saddr limit rate over {rate}/minute burst {burst} packets }} drop
	}}
}}
"""


def nft(place, rules):
    lab.run(*lab.at(place, "nft", "-f", "-"), input=rules)


class Counters:
    """Packets of the well-behaved to each service: {transport: (sent, arrived)}."""

    def __init__(self):
        places = {"last": lab.GOOD_USERS, "web": lab.Web.port, "dns": lab.Dns.port}
        nft(lab.USERS, COUNTERS.format(hook="output", priority=0, **places))
        nft(lab.EDGE, COUNTERS.format(hook="prerouting", priority=-300, **places))

    @staticmethod
    def packets(place, transport):
        rules = json.loads(lab.run(*lab.at(place, "nft", "-j", "list", "counter", "ip", "overload_count", f"of_{transport}")))
        return next(entry["counter"]["packets"] for entry in rules["nftables"] if "counter" in entry)

    def read(self, transport):
        """Those that arrived are read first, so that what is between is never taken for spilled."""
        arrived = self.packets(lab.EDGE, transport)
        return self.packets(lab.USERS, transport), arrived


class Nothing:
    name, title = "nothing", "nothing"

    def begin(self, _service):
        pass

    def end(self):
        pass


class Nftables:
    """`kind`: packets or connections a minute and source; the burst is half a second's worth, or a request's."""
    name, title = "nftables", "nftables, best by hand"

    def __init__(self, limit):
        self.limit = limit  # (kind, rate) or None

    def begin(self, service):
        kind, rate = self.limit
        match = f"{service.transport} dport {service.port}"
        if kind == "connections":
            match += " tcp flags & (syn|ack) == syn"
        nft(lab.EDGE, LIMIT.format(match=match, rate=rate, burst=max(5, rate // 120)))

    def end(self):
        nft(lab.EDGE, "table ip overload_limit {}; delete table ip overload_limit\n")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=5)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Watch(threading.Thread):
    """What the daemon says of a service, ten times a second: [(time, service)]."""

    def __init__(self, spillway, service):
        super().__init__(daemon=True)
        self.spillway, self.service = spillway, service
        self.samples, self.over = [], threading.Event()
        self.start()

    def run(self):
        while not self.over.wait(0.1):
            try:
                self.samples.append((time.monotonic(), self.spillway.service(self.service)))
            except OSError:
                continue

    def end(self):
        self.over.set()
        self.join()
        return self.samples


class Spillway:
    name, title = "spillway", "Spillway, adaptive"

    def __init__(self, config, users=1000000):
        self.directory = lab.STATE / "spillway"
        self.directory.mkdir(exist_ok=True)
        self.socket = str(self.directory / "spillway.sock")
        os.environ["SPILLWAY_SOCKET"] = self.socket
        os.environ["SPILLWAY_PINS"] = f"/sys/fs/bpf/spillway-{os.environ['LAB_NAME']}"
        path = self.directory / "spillway.yaml"
        path.write_text("interfaces: [edge0]\nmode: enforce\nlisten: null\n"
                        f"table: {{users: {users}}}\nservices:\n{config}", encoding="ascii")
        # Kept: it says why the level moved.
        self.log = open(f"{lab.BUILD}/overload-spillway.log", "w", encoding="utf-8")
        self.daemon = lab.Process(lab.EDGE, f"{lab.BUILD}/spillway", "run", "--config", path, cpu=None,
                                  output=self.log, errors=self.log)
        lab.wait_until(self.answers, "spillway", 30)

    def get(self, what):
        connection = UnixConnection(self.socket)
        connection.request("GET", f"/api/v1/{what}", headers={"Host": "localhost"})
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return json.loads(body)

    def answers(self):
        if self.daemon.popen.poll() is not None:
            raise RuntimeError("spillway: ended at once: " + f"see {self.log.name}")
        try:
            return bool(self.get("status"))
        except OSError:
            return False

    def service(self, service):
        return next(entry for entry in self.get("services") if entry["name"] == service.name)

    def cpu_seconds(self):
        with open(f"/proc/{self.daemon.popen.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def begin(self, _service):
        pass

    def end(self):
        pass

    def stop(self):
        try:
            self.daemon.end()
        finally:
            lab.run(f"{lab.BUILD}/spillway", "unload")
            self.log.close()
