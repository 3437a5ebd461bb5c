#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-only
"""Compares the control laws in the simulator: the table of ARCHITECTURE.md, means of five seeds each."""
import glob
import json
import os
import subprocess
import sys
import tempfile

LAWS = ["knee", "pid", "bbr", "gradient", "aimd", "none"]
SEEDS = range(1, 6)
ROWS = [  # words, scenario, measure, of, from
    ("few flooders: visitors answered", "few_flooders", "answered", "visitors", 40),
    ("their p99, ms", "few_flooders", "p99", "visitors", 41),
    ("never-repeating sources: visitors answered", "never_repeating", "answered", "visitors", 40),
    ("flash crowd: goodput", "flash_crowd", "goodput", "", 45),
    ("the same, one worker of fixed time", "one_worker", "goodput", "", 105),
    ("square wave, 0.1 Hz: level swings by", "square_tenth_hertz", "swing", "", 80),
    ("1 Hz", "square_one_hertz", "swing", "", 80),
    ("10 Hz", "square_ten_hertz", "swing", "", 80),
    ("retry storm: answered afterwards", "retry_storm", "answered", "", 65),
    ("slow dependency: answered (0.5 can be)", "slow_dependency", "answered", "", 50),
    ("slower, not busier: answered", "slower_not_busier", "answered", "", 40),
    ("slow leak: p99, ms", "slow_leak", "p99", "", 60),
    ("ordinary hour: spilled", "ordinary_hour", "spilled", "", 0),
]


def run(simulator, law, scenario, seed):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, os.path.basename(scenario))
        with open(scenario, encoding="utf-8") as file, open(path, "w", encoding="utf-8") as copy:
            copy.write(f"{file.read()}seed: {seed}\n")
        command = [simulator, "--json", "--law", law, path]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)["expectations"]


def main():
    simulator = os.path.join(os.environ.get("O", "build"), "spillway-simulator")
    scenarios = sorted(glob.glob(os.path.join(os.path.dirname(sys.argv[0]), "scenarios", "*.yaml")))
    means, met = {}, {}
    for law in LAWS:
        results = [(os.path.basename(scenario)[:-5], run(simulator, law, scenario, seed))
                   for scenario in scenarios for seed in SEEDS]
        bound = [e for _, es in results for e in es if e["least"] is not None or e["most"] is not None]
        met[law] = f"{sum(e['met'] for e in bound)} of {len(bound)}"
        for row in ROWS:
            values = [e["value"] for name, es in results if name == row[1] for e in es
                      if (e["measure"], e["of"], e["from"]) == row[2:]]
            means[law, row] = "-" if None in values or not values else f"{sum(values) / len(values):.3g}"
    print("| |", " | ".join(LAWS), "|\n|", " | ".join(["---"] * (len(LAWS) + 1)), "|")
    for row in ROWS:
        print("|", row[0], "|", " | ".join(means[law, row] for law in LAWS), "|")
    print("| expectations met |", " | ".join(met[law] for law in LAWS), "|")


main()
