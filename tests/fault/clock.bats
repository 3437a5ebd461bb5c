#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Clocks that step, and times that are long past. Stepping the machine's own clock would hit everything on it, and a time
# namespace has no wall clock of its own: so the daemon alone is told another time, by a preloaded library. The packet path
# has no part in this: its clock is the jiffy.

load common

setup_file() {
	world_up
}

teardown_file() {
	world_down
}

setup() {
	load_assertions
	daemon=
}

teardown() {
	finish
}

# send ARGUMENT...: from 10.0.0.1, to the service.
send() {
	${EXEC:-} chrt -f 1 nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --sources 10.0.0.1/32 --json "$@"
}

# field FIELD: a number of the service.
field() {
	"$SPILLWAY" services --json | jq ".[] | select(.name == \"dns\") | .$1"
}

# The rates that are told, twice a second, while the clock steps.
watch_rates() {
	while sleep 0.5; do field packets_per_second; done >"$DIR/rates"
}

@test "a wall clock that steps a day either way changes no rate and ends nothing early (F19)" {
	sed -i 's/burst: 100/burst: 1000/' "$CONFIG" # so that a sender that is halted for a while sends no less
	# The library reads it all the time: the one directory whose files the daemon may read is its history's.
	mkdir "$DIR/history"
	local wall=$DIR/history/wall
	sed -i "s|^history: null|history: {path: $DIR/history/history.sqlite}|" "$CONFIG"
	echo "@$(date '+%F %T')" >"$wall"
	launch env LD_PRELOAD=libfaketime.so.1 LD_LIBRARY_PATH=/usr/lib/x86_64-linux-gnu/faketime \
		FAKETIME_TIMESTAMP_FILE="$wall" FAKETIME_NO_CACHE=1 FAKETIME_DONT_FAKE_MONOTONIC=1 \
		"$SPILLWAY" run --config "$CONFIG"
	answers
	"$SPILLWAY" set dns level=200 --for 1h
	EXEC="exec" send --rate 1000 --seconds 600 >"$DIR/sent" 3>&- &
	local sender=$!
	within 60 eval '[ "$(field "packets_per_second > 500")" = true ]'
	watch_rates 3>&- &
	local watcher=$!
	echo "+1d" >"$wall"
	"$SPILLWAY" deny 198.51.100.1 --for 1s
	sleep 1.5
	echo "-1d" >"$wall"
	"$SPILLWAY" allow 198.51.100.2
	sleep 1
	kill "$watcher"
	# It was another day to it, and one before.
	"$SPILLWAY" watch --json --recent 1000 >"$DIR/events" 3>&- &
	within 60 grep -q "\"time\":\"$(date -u -d tomorrow +%F)" "$DIR/events"
	within 60 grep -q "\"time\":\"$(date -u -d yesterday +%F)" "$DIR/events"
	kill $!
	kill "$sender"
	wait "$sender"
	# The level held for all that time: 200/s and a burst of 200, where 1,000/s were sent.
	local expected
	expected=$(jq '.seconds * 200 + 200' "$DIR/sent")
	awk -v passed="$(field passed_packets)" -v expected="$expected" \
		'BEGIN {d = passed - expected; exit !(d < expected * 0.02 && d > -expected * 0.02)}'
	# No rate was ever another one: over a day it would be next to none.
	run awk '$1 < 100 || $1 > 10000' "$DIR/rates"
	assert_output ""
	# What was to lapse does so at its time, which is not the wall clock's.
	"$SPILLWAY" set dns level=200 --for 1s
	echo "-2d" >"$wall"
	run "$SPILLWAY" deny --list
	refute_output --partial 198.51.100.1
	within 60 eval '[ "$(field "level_packets_per_second == 1000")" = true ]'
}

# age_cells MINUTES: every user was last seen so much longer ago.
age_cells() {
	PYTHONPATH="$BATS_TEST_DIRNAME/.." python3 - "$SPILLWAY_PINS/meter_sets" "$1" <<-'END'
		import struct, sys
		from pinned_map import cells, pinned_map
		sets, aged = pinned_map(sys.argv[1]), int(sys.argv[2]) * 60 * 10**9 << 20
		for at, _ in cells(sets):
		    state, = struct.unpack_from("<Q", sets, at)
		    struct.pack_into("<Q", sets, at, (state - aged) % 2**64)
	END
}

stop() {
	kill "$daemon"
	wait "$daemon"
}

# Four hours and a half ago looks like half an hour from now, to a time that wraps after five.
@test "a user that comes back after hours has its burst: the daemon ages what is long past" {
	sed -i 's/packets_per_second: 1000, burst: 1000*/packets_per_second: 10, burst: 50/' "$CONFIG"
	start
	send --count 3 --rate 1000
	stop
	age_cells 240
	start
	stop
	age_cells 30
	send --count 50 --rate 0
	start
	assert_equal "$(field spilled_packets)" 0
	assert_equal "$(field passed_packets)" 53
}
