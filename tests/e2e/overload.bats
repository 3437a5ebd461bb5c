#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# bats file_tags=alone
# The overload benchmark at its smallest: that it runs, and that Spillway, told no rate, keeps a flood by few users from the
# others. How well is for `make bench-overload` to say.

bats_require_minimum_version 1.5.0

setup() {
	export BATS_LIB_PATH="${BATS_LIB_PATH:-/usr/lib/bats}"
	bats_load_library bats-support
	bats_load_library bats-assert
}

# met COLUMN: the share of the well-behaved's requests that were answered in time in the last two fifths.
met() {
	jq --arg column "$1" '.rows[] | select(.column == $column) | .met_at_last' "$BATS_TEST_TMPDIR/overload.json"
}

@test "three users at ten times a web server's capacity: the others are served with Spillway, and not without" {
	run "$BATS_TEST_DIRNAME/../../tools/overload/run.sh" --seconds 12 --warm-up 2 --release 0 --quiet 0 --no-daemon --calibration 0.5 \
		--services web --columns nothing,spillway --cases few \
		--json "$BATS_TEST_TMPDIR/overload.json" --svg "$BATS_TEST_TMPDIR/overload.svg"
	assert_success
	assert_output --partial "holds?"
	run -0 awk -v with="$(met spillway)" -v without="$(met nothing)" 'BEGIN {exit !(with > without + 0.3)}'
	run -0 grep -c '<polyline' "$BATS_TEST_TMPDIR/overload.svg"
}
