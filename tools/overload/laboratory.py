# SPDX-License-Identifier: GPL-2.0-only
"""The laboratory as this benchmark uses it: two servers, each within a share of one processor, and whoever asks or floods
them from the other. It must not know cases nor columns. Runs under tools/lab.sh, which removes the namespaces."""
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

BUILD = os.environ.get("O", "build")
HERE = pathlib.Path(__file__).resolve().parent
EDGE, USERS, ATTACKER = (os.environ.get(f"LAB_{name}", "") for name in ("EDGE", "USERS", "ATTACKER"))
EDGE_IPV4, EDGE_MAC = os.environ.get("LAB_EDGE_IPV4", ""), os.environ.get("LAB_EDGE_MAC", "")
STATE = pathlib.Path(os.environ.get("LAB_STATE", "/nonexistent")) / "overload"

# On two processors the servers have one to themselves, and never wait for those who ask them. They are slow because each
# request is work: were they held to a part of the processor instead (cpu.max), a burst would stop them for the rest of
# each period, and that is what users would feel, whatever is in front of them.
PROCESSORS = sorted(os.sched_getaffinity(0))
SERVER_CPU, CLIENT_CPU = PROCESSORS[-1], PROCESSORS[0]
NICE = -20
# A query for the address of www.lab.test (RFC 1035 section 4.1), and its signature (RFC 6891, RFC 3225).
DNS_QUERY = "534c01000001000000000001" + "03777777036c6162047465737400" + "00010001" + "0000290580000080000000"
GOOD_USERS = 50
CROWD_FIRST = GOOD_USERS + 1  # the crowd's addresses follow the well-behaved users'
FEW_USERS = 3


def run(*command, **options):
    done = subprocess.run([str(word) for word in command], check=False, text=True, capture_output=True, **options)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))}: {done.stderr}")
    return done.stdout


def at(place, *command):
    return ["nsenter", f"--net=/run/netns/{place}", *[str(word) for word in command]]


def wait_until(condition, what, seconds=10):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            sys.exit(f"bench-overload: {what} did not start within {seconds} s")
        time.sleep(0.02)


class Process:
    """Something that runs in a namespace until it ends or is ended."""

    def __init__(self, place, *command, cpu=CLIENT_CPU, nice=0, output=subprocess.DEVNULL, errors=None):
        def prepare():
            if cpu is not None:
                os.sched_setaffinity(0, {cpu})
            os.setpriority(os.PRIO_PROCESS, 0, nice)
        self.started = time.monotonic()
        self.popen = subprocess.Popen(at(place, *command), stdin=subprocess.DEVNULL, stdout=output,
                                      stderr=errors, text=True, preexec_fn=prepare)

    def wait(self):
        output, _ = self.popen.communicate()
        if self.popen.returncode not in (0, -signal.SIGTERM):
            raise RuntimeError(f"{self.popen.args[2]}: ended with {self.popen.returncode}")
        return output

    def end(self):
        if self.popen.poll() is None:
            self.popen.terminate()
        return self.wait()


class Web:
    """nginx with work behind it: a connection and some 1,300 us of processor time a request."""
    name, protocol, port, transport = "web", "http", 8000, "tcp"
    WORKERS, WORK_US = 4, 1300

    def __init__(self):
        STATE.mkdir(exist_ok=True)
        conf = (HERE / "nginx.conf").read_text(encoding="ascii")
        (STATE / "web.conf").write_text(conf.replace("@STATE@", str(STATE)).replace("@PORT@", str(self.port)),
                                        encoding="ascii")
        socket = STATE / "backend.sock"
        self.processes = [
            Process(EDGE, f"{BUILD}/spillway-backend", socket, self.WORKERS, self.WORK_US,
                    cpu=SERVER_CPU, nice=NICE)]
        wait_until(socket.exists, "spillway-backend")
        os.chmod(socket, 0o666)  # nginx's workers are somebody else
        self.processes.append(Process(EDGE, "nginx", "-p", STATE, "-c", STATE / "web.conf",
                                      cpu=SERVER_CPU, nice=NICE))

    def stop(self):
        for process in self.processes:
            process.end()


class Dns:
    """Unbound with work behind it: some 1,300 us of processor time a query, spent by its Python module."""
    name, protocol, port, transport = "dns", "dns", 5300, "udp"

    def __init__(self):
        directory = STATE / "unbound"
        directory.mkdir(exist_ok=True)
        conf = (HERE / "unbound.conf").read_text(encoding="ascii")
        for mark, value in (("@STATE@", directory), ("@ADDRESS@", EDGE_IPV4), ("@PORT@", str(self.port)),
                            ("@WORK@", HERE / "dns_work.py")):
            conf = conf.replace(mark, str(value))
        (directory / "unbound.conf").write_text(conf, encoding="ascii")
        # Its Python is told where the distribution has its modules: it looks beside the first python3 there is.
        self.processes = [Process(EDGE, "env", "PYTHONPATH=/usr/lib/python3/dist-packages", "unbound", "-c",
                                  directory / "unbound.conf", cpu=SERVER_CPU, nice=NICE)]

    def stop(self):
        for process in self.processes:
            process.end()


def address_few():
    """The few heavy users are real: they have addresses."""
    for i in range(2, FEW_USERS + 1):
        run(*at(ATTACKER, "ip", "address", "add", f"10.99.200.{i}/16", "dev", "attack0"))


class Load:
    """Users who ask a service; their requests' records are there when it has ended."""
    count = 0

    def __init__(self, service, place, first, users, *options, nice=0):
        Load.count += 1
        self.path = STATE / f"records-{Load.count}"
        self.process = Process(place, f"{BUILD}/spillway-load", "--server", EDGE_IPV4, "--port", service.port,
                               "--protocol", service.protocol, "--first", first, "--users", users,
                               "--records", self.path, *options, nice=nice, output=subprocess.PIPE)
        self.summary = None

    def end(self):
        if self.summary is None:
            self.summary = json.loads(self.process.end())
        return self.summary

    def wait(self):
        if self.summary is None:
            self.summary = json.loads(self.process.wait())
        return self.summary


def good_load(service, rate, seconds=86400):
    return Load(service, USERS, "10.99.1.1", GOOD_USERS, "--rate", rate, "--seconds", seconds, nice=NICE)


def crowd_load(service, rate, seconds, users, *options):
    return Load(service, USERS, f"10.99.1.{CROWD_FIRST}", users, "--rate", rate, "--seconds", seconds, "--seed", 7,
                *options)


def few_load(service, rate, seconds, *options):
    return Load(service, ATTACKER, "10.99.200.1", FEW_USERS, "--rate", rate, "--seconds", seconds, "--seed", 3, *options)


def flood_command(service, sources, users, distribution):
    """SYNs or queries of sources that are nobody's."""
    what = ["--protocol", "tcp-syn"] if service.transport == "tcp" else ["--protocol", "udp", "--payload", DNS_QUERY]
    return [f"{BUILD}/spillway-traffic", "--interface", "attack0", "--destination-mac", EDGE_MAC, "--destination", EDGE_IPV4,
            "--port", service.port, *what, "--sources", sources, "--users", users, "--distribution", distribution, "--json"]


def raw_flood(service, rate, seconds, *who):
    return Process(ATTACKER, *flood_command(service, *who), "--rate", round(rate), "--seconds", seconds,
                   output=subprocess.PIPE)
