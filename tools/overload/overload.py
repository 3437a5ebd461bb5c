# SPDX-License-Identifier: GPL-2.0-only
"""What well-behaved users feel while a real web and a real DNS server are overloaded in several ways: with nothing before
them, with the best limit a source that nftables can be given by hand for just that case, and with Spillway, which is told
nothing. `make bench-overload` runs this in a laboratory of its own; the figures go to build/overload.json, the plot to
build/overload.svg."""
import argparse
import json
import os
import signal
import sys
import time

import cases
import columns
import laboratory as lab
import plot
import records
import report

LEAD_S, CALM_S, DRAIN_S = 2, 2, 1.5
CALIBRATION_RUNS = 3
OBJECTIVE_TIMES, OBJECTIVE_LEAST_S = 5, 0.025
SEARCHED = (0.25, 0.35, 0.5, 0.7, 1, 2, 4)  # times what one of the well-behaved sends on average


def say(text):
    print(text, flush=True)


class Bench:
    """One service, calibrated, and what was found about it."""

    def __init__(self, service, options, counters):
        self.service, self.options, self.counters = service, options, counters
        self.calibrate()

    def calibrate(self):
        """The most that the server answers, then what half of that feels like."""
        service = self.service
        lab.wait_until(self.answers, service.name, 30)
        self.capacity = max(self.answered_at_best() for _ in range(CALIBRATION_RUNS))
        self.good_rate = self.capacity / 2
        sent = self.counters.read(service.transport)[0]
        # As long as a case: who else works on this machine now and then is a part of every minute.
        load = lab.good_load(service, self.good_rate, self.options.seconds)
        asked = load.wait()["sent"]
        run = records.responses(records.read(load.path))
        self.packets_a_request = (self.counters.read(service.transport)[0] - sent) / asked
        self.p50_s, self.p99_s = (records.percentile(run, part) for part in (0.5, 0.99))
        self.objective_s = max(OBJECTIVE_LEAST_S, OBJECTIVE_TIMES * self.p50_s)
        say(f"{service.name}: capacity {self.capacity:.0f} requests/s, {self.packets_a_request:.1f} packets each; "
            f"unloaded p50 {1e3 * self.p50_s:.1f} ms, p99 {1e3 * self.p99_s:.1f} ms; objective {1e3 * self.objective_s:.0f} ms")

    def answered_at_best(self):
        load = lab.Load(self.service, lab.USERS, "10.99.1.1", lab.GOOD_USERS, "--at-once", 16, "--seconds",
                        self.options.calibration, nice=lab.NICE)
        return load.wait()["answered"] / self.options.calibration

    def answers(self):
        load = lab.Load(self.service, lab.USERS, "10.99.1.1", 1, "--at-once", 1, "--seconds", 0.2)
        return load.wait()["answered"] > 0

    def search(self, case):
        """The best limit for the case, of packets or, where there are any, connections a second and source."""
        mean = self.good_rate / lab.GOOD_USERS
        kinds = {"packets": mean * self.packets_a_request}
        if self.service.transport == "tcp":
            kinds["connections"] = mean
        found = []
        for limit in sorted({(kind, max(1, round(60 * times * unit))) for kind, unit in kinds.items() for times in SEARCHED}):
            run = self.run_column(columns.Nothing.name, [case], self.options.search, lambda _: columns.Nftables(limit),
                                  warm_up=0)[0]
            found.append((run["goodput_of_best"] if case.crowd else run["met_at_last"], limit))
        best = max(found)[1]
        say(f"{self.service.name}: {case.title}: nftables does best with {best[1] / 60:.1f} {best[0]}/s a source")
        return best

    def run_column(self, name, chosen, seconds, column_for, watch=None, warm_up=LEAD_S):
        """Runs the cases one after the other under one load of the well-behaved. Returns a dictionary for each."""
        good = lab.good_load(self.service, self.good_rate)
        time.sleep(warm_up)
        runs = [self.run_case(case, seconds, column_for(case), watch) for case in chosen]
        good.end()
        asked = records.read(good.path)
        os.unlink(good.path)
        found = [self.figures(name, case, run, asked, watch) for case, run in zip(chosen, runs)]
        for row in found if warm_up else []:
            say(report.line(row))
        return found

    def run_case(self, case, seconds, column, watch):
        column.begin(self.service)
        time.sleep(LEAD_S if watch else DRAIN_S)
        run = {"counted": self.counters.read(self.service.transport), "begin": time.monotonic(),
               "cpu": watch and watch.spillway.cpu_seconds()}
        run["started"] = case.start(self.service, self.capacity, seconds)
        run["end"] = run["begin"] + seconds
        time.sleep(seconds)
        run["counted_after"] = self.counters.read(self.service.transport)
        for process in run["started"]:
            process.wait()
        run["cpu"] = watch and watch.spillway.cpu_seconds() - run["cpu"]
        column.end()
        if watch:
            deadline = run["end"] + self.options.release
            while time.monotonic() < deadline and self.is_felt(watch.samples[-1][1]):
                time.sleep(0.1)
        time.sleep(CALM_S if watch else 1)
        run["over"] = time.monotonic()
        return run

    def is_felt(self, sample):
        level = sample["level_packets_per_second"]
        return level is not None and level < 0.999 * self.options.level_maximum

    def figures(self, name, case, run, asked, watch):
        begin, end = run["begin"], run["end"]
        during = records.between(asked, begin, end)
        counts = records.windows(asked, begin - LEAD_S, run["over"] - 1, self.objective_s)
        response = records.responses(during)
        result = {
            "service": self.service.name, "column": name, "case": case.name, "seconds": end - begin,
            "met": records.share_met(during, self.objective_s),
            "met_settled": records.share_met(records.between(asked, begin + 1, end), self.objective_s),
            "met_at_last": records.share_met(records.between(asked, begin + 0.6 * (end - begin), end), self.objective_s),
            "p50_s": records.percentile(response, 0.5), "p99_s": records.percentile(response, 0.99),
            "back_s": records.back_after(records.windows(asked, begin, end, self.objective_s)),
            "windows": counts, "windows_from_s": -LEAD_S,
        }
        sent, arrived = (after - before for before, after in zip(run["counted"], run["counted_after"]))
        result["good_spilled"] = max(0, sent - arrived) / sent if sent else None
        groups = [(asked, lab.GOOD_USERS)]
        for load in run["started"]:
            if isinstance(load, lab.Load):
                if case.crowd:
                    groups.append((records.read(load.path), cases.CROWD_USERS))
                os.unlink(load.path)
        if case.crowd:
            settled = (min(begin + 2, end - 1), end)
            result["goodput"] = sum(records.goodput(group, *settled) for group, _ in groups)
            result["goodput_of_best"] = result["goodput"] / self.capacity
            result["in_time_of_best"] = sum(records.goodput(group, *settled, self.objective_s) for group, _ in groups) / self.capacity
            result["unevenness"] = records.unevenness(groups, *settled)
        result["score"] = result["goodput_of_best"] if case.crowd else result["met"]
        if watch:
            result.update(self.watched(run, watch))
        for key in ("p50_s", "p99_s"):
            result[key] = None if result[key] == float("inf") else result[key]
        return result

    def watched(self, run, watch):
        """The level while the case lasted, and how long after its end somebody still felt it."""
        samples = [(at - run["begin"], sample) for at, sample in watch.samples
                   if run["begin"] - LEAD_S <= at <= run["over"]]
        during = [sample for at, sample in samples if 0 <= at <= run["end"] - run["begin"]]
        after = [(at, sample) for at, sample in samples if at > run["end"] - run["begin"]]
        felt = [at for at, sample in after if self.is_felt(sample)]
        settled = during[len(during) // 2:]
        levels = sorted(sample["level_packets_per_second"] for sample in settled if self.is_felt(sample))
        spilled = [sample["spilled_packets"] for _, sample in samples]
        return {
            "released_s": max(felt, default=run["end"] - run["begin"]) - (run["end"] - run["begin"]),
            "is_released": not after or not self.is_felt(after[-1][1]),
            "level_swing": (levels[-1] - levels[0]) / levels[-1] if levels else 0,
            "level_felt": len(levels) / max(1, len(settled)), "level_least": levels[0] if levels else None,
            "spilled": spilled[-1] - spilled[0] if spilled else None,
            "daemon_cpu": run["cpu"] / (run["end"] - run["begin"]),
            "levels": [(round(at, 2), sample["level_packets_per_second"], sample["capacity_packets_per_second"],
                        sample["packets_per_second"]) for at, sample in samples],
        }

    def config(self):
        """Spillway is told where the service is and what is a good response, and no rate."""
        return (f"  - {{name: {self.service.name}, protocol: {self.service.transport}, ports: [{self.service.port}], "
                f"adaptive: {{minimum: {self.options.level_minimum}, maximum: {self.options.level_maximum}, "
                f"target_response: {self.options.target}ms}}}}\n")

    def run_spillway(self, chosen):
        spillway = columns.Spillway(self.config())
        watch = columns.Watch(spillway, self.service)
        try:
            lab.wait_until(lambda: watch.samples, "spillway's API")
            found = self.run_column(columns.Spillway.name, chosen, self.options.seconds, lambda _: spillway, watch,
                                    self.options.warm_up)
            if self.options.quiet:
                found += self.run_column(columns.Spillway.name, [cases.QUIET], self.options.quiet, lambda _: spillway, watch)
            return found
        finally:
            watch.end()
            spillway.stop()

    def run(self, chosen):
        found, limits = [], {}
        for name in self.options.columns:
            if name == columns.Nothing.name:
                found += self.run_column(name, chosen, self.options.seconds, lambda _: columns.Nothing())
            elif name == columns.Nftables.name:
                for case in chosen:
                    if not case.searched_as or case.searched_as not in limits:
                        limits[case.name] = self.search(case)
                found += self.run_column(name, chosen, self.options.seconds, lambda case: columns.Nftables(
                    limits[case.searched_as if case.searched_as in limits else case.name]))
            else:
                found += self.run_spillway(chosen)
        return found, limits


def run_daemon(service, seconds):
    """What the daemon costs while its table is full and being hammered on."""
    config = (f"  - {{name: {service.name}, protocol: {service.transport}, ports: [{service.port}], "
              "adaptive: {minimum: 20, maximum: 100000}}\n")
    spillway = columns.Spillway(config)
    try:
        lab.Process(lab.ATTACKER, *lab.flood_command(service, "10.0.0.0/8", 1000000, "sequence"), "--count", 2000000).wait()
        cpu, begin = spillway.cpu_seconds(), time.monotonic()
        flood = json.loads(lab.raw_flood(service, 200000, seconds, "10.0.0.0/8", 1000000, "uniform").wait())
        cpu = (spillway.cpu_seconds() - cpu) / (time.monotonic() - begin)
        status = spillway.get("status")
        return {"used": status["table"]["used"], "packets_per_second": flood["packets_per_second"], "cpu": cpu,
                "longest_tick_milliseconds": status["controller"]["longest_tick_milliseconds"]}
    finally:
        spillway.stop()


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS_PER_CASE", 60)),
                        help="of each case (60, or SECONDS_PER_CASE)")
    parser.add_argument("--quiet", type=float, default=float(os.environ.get("SECONDS_OF_QUIET", 300)),
                        help="seconds without overload (300, or SECONDS_OF_QUIET); 0: leave it out")
    parser.add_argument("--search", type=float, help="seconds for each limit that nftables is tried with")
    parser.add_argument("--calibration", type=float, default=2, help="seconds of each run that finds what a server can do (2)")
    parser.add_argument("--warm-up", type=float, default=80, help="seconds that Spillway sees ordinary traffic first: tenure takes 70 (80)")
    parser.add_argument("--release", type=float, default=15, help="seconds to wait for a level that is still felt (15)")
    parser.add_argument("--services", default="web,dns")
    parser.add_argument("--columns", default="nothing,nftables,spillway")
    parser.add_argument("--cases", help="names, with commas: " + ", ".join(case.name for case in cases.CASES))
    parser.add_argument("--no-daemon", action="store_true", help="leave out what the daemon costs with a full table")
    parser.add_argument("--level-minimum", type=int, default=1)
    parser.add_argument("--level-maximum", type=int, default=100000)
    parser.add_argument("--target", type=int, default=20, help="milliseconds: what Spillway is told half of the responses may take (20)")
    parser.add_argument("--json", default=f"{lab.BUILD}/overload.json")
    parser.add_argument("--svg", default=f"{lab.BUILD}/overload.svg")
    options = parser.parse_args()
    options.columns = options.columns.split(",")
    options.search = options.search or min(4, max(2, options.seconds / 10))
    return options


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("bench-overload: stopped"))
    options = parse()
    wanted = options.cases.split(",") if options.cases else [case.name for case in cases.CASES]
    chosen = [case for case in cases.CASES if case.name in wanted]
    if len(chosen) != len(wanted):
        sys.exit(f"bench-overload: --cases {options.cases}: no such case: see --help")
    lab.STATE.mkdir()
    lab.address_few()
    counters = columns.Counters()
    result = {"kernel": os.uname().release, "processors": len(lab.PROCESSORS), "seconds": options.seconds,
              "services": [], "rows": [], "daemon": None}
    for kind in (lab.Web, lab.Dns):
        if kind.name not in options.services.split(","):
            continue
        service = kind()
        try:
            bench = Bench(service, options, counters)
            rows, limits = bench.run(chosen)
            result["rows"] += rows
            result["services"].append({
                "name": kind.name, "capacity": bench.capacity, "packets_a_request": bench.packets_a_request,
                "unloaded_p50_s": bench.p50_s, "unloaded_p99_s": bench.p99_s, "objective_s": bench.objective_s,
                "nftables": {case: {"kind": limit[0], "a_second": limit[1] / 60} for case, limit in limits.items()}})
        finally:
            service.stop()
    if not options.no_daemon:
        result["daemon"] = run_daemon(lab.Dns, min(10, options.seconds))
    result["must"] = report.must(result)
    with open(options.json, "w", encoding="ascii") as out:
        json.dump(result, out)
    with open(options.svg, "w", encoding="ascii") as out:
        out.write(plot.draw(result))
    report.print_all(result)
    say(f"figures in {options.json}, plot in {options.svg}")


if __name__ == "__main__":
    main()
