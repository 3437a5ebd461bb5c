#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs the tests on a build that counts, and prints which share of the lines and branches of each file ran: of user/ as gcc
# counts, of bpf/ as clang's counters do in the kernel itself. SUITES names other bats files than all. A process that is killed
# leaves no counts, so that the figures are rather too low. A test that fails here (times are longer) is said and does not count
# against it: that is what `make check` is for.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit
: "${O:=$PWD/build/coverage}"
export O BATS_LIB_PATH=${BATS_LIB_PATH:-/usr/lib/bats} PATH="$PATH:/usr/sbin"
# Where who runs may not write the counts: not to be told among a program's words.
export GCOV_ERROR_FILE=/dev/null
export BPF_COUNTERS=/sys/fs/bpf/spillway-coverage-$$
log=$O/tests.log

if [ "$(id -u)" -ne 0 ]; then
	echo "coverage: not root: run 'sudo make coverage'" >&2
	exit 1
fi

run() {
	LD_PRELOAD=$O/bpf_counters.so "$@" >>"$log" 2>&1 || echo "coverage: not all of it passed: $*" >&2
}

# The counters of bpf/, as the profile that llvm-cov reads.
bpf_profile() {
	local pin name
	rm -f "$O"/bpf/*.proftext
	for pin in "$BPF_COUNTERS"/*; do
		name=$(basename "$pin" _bpf)
		bpftool -j map dump pinned "$pin" |
			tests/bpf_coverage.py profile "$O/bpf/$name.bpf.o" "$O/bpf/$name.json" >"$O/bpf/$name.proftext"
	done
	llvm-profdata-19 merge -o "$O/bpf.profdata" "$O"/bpf/*.proftext
}

# FILE, LINES RUN, LINES, BRANCHES RUN, BRANCHES
bpf_rows() {
	local objects=("$O"/bpf/*.map.o)
	llvm-cov-19 export --summary-only --instr-profile="$O/bpf.profdata" "${objects[0]}" "${objects[@]/#/--object=}" |
		jq -r '.data[0].files[] | .filename as $f | .summary | select(.lines.count > 0)
			| [($f | sub(".*/bpf/"; "bpf/")), .lines.covered, .lines.count, .branches.covered, .branches.count] | @tsv'
}

user_rows() {
	gcovr --root . --object-directory "$O" --filter 'user/' --exclude '.*\.skel\.h' --json-summary -o "$O/summary.json" "$O" &&
		jq -r '.files[] | [.filename, .line_covered, .line_total, .branch_covered, .branch_total] | @tsv' "$O/summary.json"
}

: >"$log"
find "$O" -name '*.gcda' -delete
mkdir "$BPF_COUNTERS"
trap 'rm -rf "$BPF_COUNTERS"' EXIT
for program in "$O"/tests/unit/*_test "$O"/tests/packet/*_test; do
	run "$program"
done
for suite in ${SUITES-tests/e2e/*.bats tests/fault/*.bats}; do
	run bats --tap "$suite"
done

bpf_profile
{ bpf_rows; user_rows; } | awk -F'\t' '
	function share(run, all) { return all ? sprintf("%.1f", 100 * run / all) : "-" }
	function row(name, lines, of, branches, of_branches) {
		printf "%-36s %8s %7d %11s %7d\n", name, share(lines, of), of, share(branches, of_branches), of_branches
	}
	BEGIN {printf "%-36s %8s %7s %11s %7s\n", "FILE", "LINES %", "OF", "BRANCHES %", "OF"}
	{
		row($1, $2, $3, $4, $5)
		split($1, part, "/")
		for (i = 2; i <= 5; i++) sum[part[1], i] += $i
	}
	END {
		row("all of bpf/", sum["bpf", 2], sum["bpf", 3], sum["bpf", 4], sum["bpf", 5])
		row("all of user/", sum["user", 2], sum["user", 3], sum["user", 4], sum["user", 5])
	}'
