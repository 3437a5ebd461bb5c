#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs every test that has been built, ring by ring: lint, unit (plain, with sanitizers, under memcheck), packet, fuzz, end
# to end. Ends with the line `N passed, N failed` and fails where any did, or was skipped, or where there was nothing to run.
#
# Most suites wait most of the time: two of them run at once, in namespaces and with pins of their own, and what needs the
# processor and nothing else (lint, sanitizers, memcheck, fuzzers) takes what they leave of it. Suites that say so
# (`# bats file_tags=alone`) have the machine to themselves afterwards.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit
O=${O:-$PWD/build}
export O
export BATS_LIB_PATH=${BATS_LIB_PATH:-/usr/lib/bats}
AT_ONCE=2
counts=$(mktemp)
trap 'rm -f "$counts"' EXIT

# tell NAME PASSED FAILED SKIPPED SINCE [LOG-OF-FAILURE]: counts, and says in one piece what became of it.
tell() {
	local word=ok
	[ "$4" -eq 0 ] || word=SKIPPED
	[ "$3" -eq 0 ] || word=FAIL
	printf '%d %d %d\n' "$2" "$3" "$4" >>"$counts"
	printf '%-5s %s (%d, %d s)\n%s' "$word" "$1" "$2" $((SECONDS - $5)) "${6:+$6$'\n'}"
}

run_lint() {
	local status=0 began=$SECONDS
	make --no-print-directory lint O="$O" >"$O/lint.log" 2>&1 || status=1
	tell lint $((1 - status)) "$status" 0 "$began" "$([ $status -eq 0 ] || tail -n 60 "$O/lint.log")"
}

# run_program NAME COMMAND...: a cmocka program reports "[  PASSED  ] N test(s)." and so on; its exit status is the
# number that failed.
run_program() {
	local name=$1 log status=0 good skipped began=$SECONDS words=
	log=$O/${name//[ \/]/.}.log
	shift
	"$@" >"$log" 2>&1 || status=$?
	good=$(sed -nE 's/^\[  PASSED  \] ([0-9]+) test\(s\).*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
	skipped=$(grep -c '^\[  SKIPPED \] [a-z]' "$log")
	[ "$good" -gt 0 ] || status=1
	[ "$status" -eq 0 ] && [ "$skipped" -eq 0 ] || words=$(grep -vE '^\[( RUN      |       OK ).*' "$log" | tail -n 40)
	tell "$name" "$good" $((status != 0)) "$skipped" "$began" "$words"
}

run_suite() {
	local log status=0 good bad skipped began=$SECONDS words=
	log=$O/$(basename "$(dirname "$1")").$(basename "$1").log
	bats --tap "$1" >"$log" 2>&1 </dev/null || status=$?
	skipped=$(grep -c '^ok .*# skip' "$log")
	good=$(($(grep -c '^ok ' "$log") - skipped))
	bad=$(grep -c '^not ok ' "$log")
	[ "$status" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
	[ "$bad" -eq 0 ] && [ "$skipped" -eq 0 ] || words=$(grep -vE '^ok [^#]*$' "$log" | tail -n 60)
	tell "$1" "$good" "$bad" "$skipped" "$began" "$words"
}

# A command that ends with a line of what it did.
run_command() {
	local log=$O/$1.log name=$1 status=0 began=$SECONDS
	shift
	"$@" >"$log" 2>&1 || status=1
	tell "$name" $((1 - status)) "$status" 0 "$began" "$(tail -n $((status ? 60 : 1)) "$log")"
}

run_unit() {
	local program
	for program in "$O"/tests/unit/*_test; do
		run_program "unit/$(basename "$program")" "$program"
	done
}

# They hold the packet path against the clock, on both processors: so they come before all other work there. A real-time
# priority of 2 leaves one below it to the threads that only send. Reloads wait for threads of the kernel, which have none.
run_packet() {
	local program first
	for program in "$O"/tests/packet/*_test; do
		first=(chrt -r 2)
		[ "${program##*/}" != reload_test ] || first=()
		run_program "packet/$(basename "$program")" "${first[@]}" "$program"
	done
}

# What takes no more of the processors than others leave.
run_behind() {
	local program
	renice -n 19 "$BASHPID" >/dev/null
	run_lint
	for program in "$O"/san/tests/unit/*_test; do
		run_program "unit/$(basename "$program") sanitized" \
			env ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "$program"
	done
	for program in "$O"/tests/unit/*_test; do
		[ "${program##*/}" != protections_test ] || continue # it tries what valgrind itself refuses, or cannot survive
		run_program "unit/$(basename "$program") memcheck" \
			valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all "$program"
	done
	run_command fuzz env SECONDS_TO_RUN=2 SEED=1 tests/fuzz/run.sh
	run_command dissect tests/fuzz/dissect.py "$O/tests/fuzz/readings" "$O/tests/fuzz/corpus.pcap"
}

# run_suites AT_ONCE SUITE...
run_suites() {
	local at_once=$1 suite
	shift
	for suite; do
		while [ "$(jobs -rp | wc -l)" -ge "$at_once" ]; do wait -n; done
		run_suite "$suite" &
	done
	wait
}

run_behind &
behind=$!
run_unit
if [ "$(id -u)" -eq 0 ]; then
	run_packet
	mapfile -t alone < <(grep -lx '# bats file_tags=alone' tests/fault/*.bats tests/e2e/*.bats)
	mapfile -t others < <(grep -Lx '# bats file_tags=alone' tests/fault/*.bats tests/e2e/*.bats)
	(run_suites "$AT_ONCE" "${others[@]}")
	wait "$behind"
	run_suites 1 "${alone[@]}"
else
	tell "packet, end to end: need root: run 'sudo make check'" 0 1 0 "$SECONDS"
	wait "$behind"
fi

awk '{passed += $1; failed += $2; skipped += $3}
	END {if (skipped) printf "%d skipped, which counts as failed: what is required has to be proven\n", skipped
		printf "%d passed, %d failed\n", passed, failed + skipped
		exit failed + skipped > 0 || passed == 0}' "$counts"
