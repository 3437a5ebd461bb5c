#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# Runs the tests on a build that counts, and prints which share of the lines and branches of each file ran; SUITES names other
# bats files than all. What is in the kernel does not count itself: of bpf/ the table has what user space is built from too.
# A process that is killed leaves no counts, so that the figures are rather too low. A test that fails here (times are longer)
# is said and does not count against it: that is what `make check` is for.
set -uo pipefail
cd "$(dirname "$(readlink -f "$0")")/.." || exit
: "${O:=$PWD/build/coverage}"
export O BATS_LIB_PATH=${BATS_LIB_PATH:-/usr/lib/bats}
# Where who runs may not write the counts: not to be told among a program's words.
export GCOV_ERROR_FILE=/dev/null
log=$O/tests.log

run() {
	"$@" >>"$log" 2>&1 || echo "coverage: not all of it passed: $*" >&2
}

: >"$log"
find "$O" -name '*.gcda' -delete
for program in "$O"/tests/unit/*_test "$O"/tests/packet/*_test; do
	run "$program"
done
if [ "$(id -u)" -eq 0 ]; then
	for suite in ${SUITES:-tests/e2e/*.bats tests/fault/*.bats}; do
		run bats --tap "$suite"
	done
else
	echo "coverage: not root: without the end-to-end tests" >&2
fi

gcovr --root . --object-directory "$O" --filter 'user/' --filter 'bpf/' --exclude '.*\.skel\.h' --json-summary -o "$O/summary.json" "$O" &&
	jq -r '
		def share(covered; total): if total == 0 then "-" else "\(1000 * covered / total | round / 10)" end;
		def row(name; files): [name, (files | map(.line_covered) | add), (files | map(.line_total) | add),
			(files | map(.branch_covered) | add), (files | map(.branch_total) | add)];
		.files as $files
		| ([$files[] | row(.filename; [.])]
			+ [("bpf", "user") as $half | [$files[] | select(.filename | startswith($half))] | select(length > 0) | row("all of \($half)/"; .)])[]
		| [.[0], share(.[1]; .[2]), .[2], share(.[3]; .[4]), .[4]] | @tsv' "$O/summary.json" |
	awk -F'\t' 'BEGIN {printf "%-36s %8s %8s %10s %9s\n", "FILE", "LINES %", "OF", "BRANCHES %", "OF"}
		{printf "%-36s %8s %8s %10s %9s\n", $1, $2, $3, $4, $5}'
