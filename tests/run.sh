#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs every test that has been built, ring by ring: lint, unit (plain, with sanitizers, under memcheck), packet, fuzz, end
# to end. Ends with the line `N passed, N failed` and fails where any did, or where there was nothing to run.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit
O=${O:-$PWD/build}
export O
export BATS_LIB_PATH=${BATS_LIB_PATH:-/usr/lib/bats}
passed=0 failed=0

run_lint() {
	if make --no-print-directory lint O="$O" >"$O/lint.log" 2>&1; then
		passed=$((passed + 1))
		echo 'ok    lint (1)'
	else
		failed=$((failed + 1))
		echo 'FAIL  lint'
		tail -n 60 "$O/lint.log"
	fi
}

# run_program NAME COMMAND...: a cmocka program reports "[  PASSED  ] N test(s)." and so on; its exit status is the
# number that failed.
run_program() {
	local name=$1 log status=0 good
	log=$O/${name// /.}.log
	shift
	"$@" >"$log" 2>&1 || status=$?
	good=$(sed -nE 's/^\[  PASSED  \] ([0-9]+) test\(s\).*/\1/p' "$log" | awk '{n += $1} END {print n + 0}')
	passed=$((passed + good))
	if [ "$status" -eq 0 ] && [ "$good" -gt 0 ]; then
		printf 'ok    %s (%d)\n' "$name" "$good"
	else
		failed=$((failed + 1))
		printf 'FAIL  %s\n' "$name"
		grep -vE '^\[( RUN      |       OK ).*' "$log" | tail -n 40
	fi
}

run_bats() {
	local log status=0
	log=$O/$(basename "$1").log
	bats --tap "$1" >"$log" 2>&1 || status=$?
	local good bad
	good=$(grep -c '^ok ' "$log")
	bad=$(grep -c '^not ok ' "$log")
	grep '^ok .*# skip' "$log" | sed 's/^ok/SKIPPED/'
	[ "$status" -ne 0 ] && [ "$bad" -eq 0 ] && bad=1
	passed=$((passed + good))
	failed=$((failed + bad))
	if [ "$bad" -eq 0 ]; then
		printf 'ok    %s (%d)\n' "$(basename "$1")" "$good"
	else
		printf 'FAIL  %s\n' "$(basename "$1")"
		grep -v '^ok ' "$log" | tail -n 60
	fi
}

# A command that ends with a line of what it did.
run_command() {
	local log=$O/$1.log name=$1
	shift
	if "$@" >"$log" 2>&1; then
		passed=$((passed + 1))
		printf 'ok    %s\n' "$(tail -n 1 "$log")"
	else
		failed=$((failed + 1))
		printf 'FAIL  %s\n' "$name"
		tail -n 60 "$log"
	fi
}

run_lint
for program in "$O"/tests/unit/*_test "$O"/tests/packet/*_test; do
	[ -x "$program" ] && run_program "$(basename "$program")" "$program"
done
for program in "$O"/san/tests/unit/*_test; do
	[ -x "$program" ] && run_program "$(basename "$program") sanitized" \
		env ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 "$program"
done
for program in "$O"/tests/unit/*_test; do
	[ -x "$program" ] && run_program "$(basename "$program") memcheck" \
		valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=all "$program"
done
run_command fuzz env SECONDS_TO_RUN=10 tests/fuzz/run.sh
run_command dissect tests/fuzz/dissect.py "$O/tests/fuzz/readings" "$O/tests/fuzz/corpus.pcap"
if [ "$(id -u)" -eq 0 ]; then
	for suite in tests/e2e/*.bats tests/fault/*.bats; do
		[ -e "$suite" ] && run_bats "$suite"
	done
else
	echo "FAIL  end to end: needs root: run 'sudo make check'"
	failed=$((failed + 1))
fi

printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
