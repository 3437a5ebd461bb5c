#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs the parser's fuzzer for SECONDS_TO_RUN from the packet tests' cases, and says how many inputs it tried. What it
# finds it adds to its corpus below the build directory, so that the next run goes on from there. An input that breaks
# the parser is kept there too and shown in hexadecimal.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
O=${O:-$PWD/build}
seconds=${SECONDS_TO_RUN:-60}
work=$O/tests/fuzz
crashes=$work/crashes

mkdir -p "$work/seeds" "$work/corpus"
rm -rf "$crashes"
mkdir "$crashes"
"$work/seeds_writer" "$work/seeds"

status=0
"$work/parser_fuzz" -max_total_time="$seconds" -max_len=4096 -print_final_stats=1 -artifact_prefix="$crashes/" \
	"$work/corpus" "$work/seeds" >"$work/log" 2>&1 || status=$?
executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/log")
if [ "$status" -ne 0 ]; then
	grep -vE '^#[0-9]+\s+(NEW|REDUCE|pulse)|^(=>|  )0x' "$work/log" | tail -n 60
	for input in "$crashes"/*; do
		[ -e "$input" ] && printf '%s:\n' "$input" && od -An -tx1 "$input"
	done
	echo "fuzz: the parser broke after ${executions:-an unknown number of} executions"
	exit 1
fi
echo "fuzz: $executions executions in $seconds s"
[ "$executions" -gt 0 ]
