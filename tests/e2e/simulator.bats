#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The control core in the simulator: each scenario does what its file expects; plots and JSON are what they should be.

setup() {
	SIMULATOR=$O/spillway-simulator
	SCENARIOS=$BATS_TEST_DIRNAME/../../tools/simulator/scenarios
}

@test "every scenario comes out as it expects, square waves of a tenth, one and ten hertz too (F25)" {
	run "$SIMULATOR" --quiet "$SCENARIOS"/*.yaml
	echo "$output"
	[ "$status" -eq 0 ]
	[ "$(ls "$SCENARIOS" | wc -l)" -ge 12 ]
}

@test "without control most floods end badly, and the simulator says so" {
	run "$SIMULATOR" --law none --quiet "$SCENARIOS"/few_flooders.yaml "$SCENARIOS"/retry_storm.yaml
	[ "$status" -eq 4 ]
	[[ $output == *"FAIL few_flooders answered  visitors"* ]]
	[[ $output == *"FAIL retry_storm answered"* ]]
}

@test "the same scenario comes out the same twice" {
	"$SIMULATOR" --json "$SCENARIOS/hang.yaml" | sha256sum >"$BATS_TEST_TMPDIR/first"
	"$SIMULATOR" --json "$SCENARIOS/hang.yaml" | sha256sum | diff "$BATS_TEST_TMPDIR/first" -
}

@test "plots are well-formed, and JSON has all ticks" {
	"$SIMULATOR" --plots "$BATS_TEST_TMPDIR" "$SCENARIOS/hang.yaml"
	python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$BATS_TEST_TMPDIR/hang.svg"
	"$SIMULATOR" --json "$SCENARIOS/hang.yaml" >"$BATS_TEST_TMPDIR/hang.json"
	jq -e '.scenario == "hang" and (.ticks | length) >= 1000 and ([.expectations[].met] | all)' "$BATS_TEST_TMPDIR/hang.json"
}

@test "the trace says why" {
	run "$SIMULATOR" --trace "$SCENARIOS/hang.yaml"
	[[ $output == *"no reply for 2"* ]]
	[[ $output == *"it answers again"* ]]
}

@test "a scenario at fault is named with its line" {
	printf 'seconds: 10\nservice: {workers: 4, time: 4ms}\nusers:\n  - {name: a, rhythm: waltz}\n' >"$BATS_TEST_TMPDIR/bad.yaml"
	run "$SIMULATOR" "$BATS_TEST_TMPDIR/bad.yaml"
	[ "$status" -eq 1 ]
	[[ $output == *"bad.yaml:4: rhythm"* ]]
	run "$SIMULATOR" "$BATS_TEST_TMPDIR/none.yaml"
	[ "$status" -eq 1 ]
	run "$SIMULATOR"
	[ "$status" -eq 2 ]
}
