#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs the fuzzers for SECONDS_TO_RUN each: of the packet parser, from the packet tests' cases, and of the configuration's
# reader, from the examples. Says how many inputs each tried. What one finds it adds to its corpus below the build
# directory, so that the next run goes on from there. An input that breaks something is kept there too and shown in
# hexadecimal.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
O=${O:-$PWD/build}
seconds=${SECONDS_TO_RUN:-60}
work=$O/tests/fuzz
total=0

# fuzz NAME SEEDS MOST_BYTES
fuzz() {
	local crashes=$work/crashes/$1 corpus=$work/corpus/$1 log=$work/$1.log status=0 executions
	rm -rf "$crashes"
	mkdir -p "$crashes" "$corpus"
	"$work/$1_fuzz" -max_total_time="$seconds" -max_len="$3" -print_final_stats=1 -artifact_prefix="$crashes/" \
		"$corpus" "$2" >"$log" 2>&1 || status=$?
	executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	if [ "$status" -ne 0 ]; then
		grep -vE '^#[0-9]+\s+(NEW|REDUCE|pulse)|^(=>|  )0x' "$log" | tail -n 60
		for input in "$crashes"/*; do
			[ -e "$input" ] && printf '%s:\n' "$input" && od -An -tx1 "$input"
		done
		echo "fuzz: $1 broke after ${executions:-an unknown number of} executions"
		exit 1
	fi
	echo "fuzz: $1: $executions executions in $seconds s"
	[ "$executions" -gt 0 ]
	total=$((total + executions))
}

mkdir -p "$work/seeds/parser" "$work/seeds/config"
"$work/seeds_writer" "$work/seeds/parser"
cp tools/package/examples/*.yaml tools/package/spillway.yaml "$work/seeds/config/"
fuzz parser "$work/seeds/parser" 4096
fuzz config "$work/seeds/config" 65536
echo "fuzz: $total executions"
