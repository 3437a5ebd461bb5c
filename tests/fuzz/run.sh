#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# usage: run.sh [NAME...]: runs the fuzzers, or those of that name, for SECONDS_TO_RUN each, and says how many inputs each tried.
# They begin from tests/fuzz/corpus, the packet tests' cases and the example configurations. What one finds it adds to its corpus
# below the build directory, so that the next run goes on from there. An input that breaks something is kept there too and
# shown in hexadecimal.
set -euo pipefail
cd "$(dirname "$(readlink -f "$0")")/../.."
O=${O:-$PWD/build}
seconds=${SECONDS_TO_RUN:-60}
seed=${SEED:-0} # 0: another each time, as a search wants; a check wants the same
work=$O/tests/fuzz
total=0
declare -A most_bytes=([parser]=4096 [config]=65536 [http]=20000 [control]=4096 [prefixes]=4096 [capture]=4096 [samples]=4096 [history]=1024 [state]=1024)

# What one that broke has left in the kernel.
tidy() {
	rm -rf /sys/fs/bpf/spillway-fuzz-"$1" /dev/shm/spillway-fuzz-"$1"
}

# fuzz NAME SEEDS
fuzz() {
	local crashes=$work/crashes/$1 corpus=$work/corpus/$1 log=$work/$1.log status=0 executions process
	rm -rf "$crashes"
	mkdir -p "$crashes" "$corpus"
	"$O/san/tests/fuzz/$1_fuzz" -seed="$seed" -max_total_time="$seconds" -max_len="${most_bytes[$1]}" -dict=tests/fuzz/words.txt \
		-print_final_stats=1 -artifact_prefix="$crashes/" "$corpus" "$2" >"$log" 2>&1 &
	process=$!
	wait "$process" || status=$?
	executions=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	if [ "$status" -ne 0 ]; then
		tidy "$process"
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

seeds=$work/seeds
rm -rf "$seeds"
mkdir -p "$seeds/parser" "$seeds/config"
"$work/seeds_writer" "$seeds/parser"
cp tools/package/examples/*.yaml tools/package/spillway.yaml "$seeds/config/"
cp -r tests/fuzz/corpus/. "$seeds/"
for name in "${@:-parser config http control prefixes capture samples history state}"; do
	for one in $name; do
		fuzz "$one" "$seeds/$one"
	done
done
echo "fuzz: $total executions"
