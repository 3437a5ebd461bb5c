#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Tables as they are printed: in the order that is asked for, again and again, and never wider than the terminal.

load common

setup_file() {
	make_wire
	load_assertions
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: null
		history: null
		table: {users: 10000}
		services:
		  - {name: zebra-whose-name-is-rather-long, protocol: udp, ports: [53]}
		  - {name: ant, protocol: udp, ports: [54], limit: {packets_per_second: 10, burst: 10}}
	END
	start
	flood --port 53 --sources 10.0.0.1/32 --users 1 --rate 200 --seconds 2
	flood --port 54 --sources 10.0.0.2/32 --users 1 --rate 100 --seconds 2
}

teardown_file() {
	stop
	remove_wire
}

setup() {
	load_assertions
}

# column NUMBER: of the table's rows.
column() {
	tail -n +2 <<<"$output" | awk -v n="$1" '{print $n}' | xargs
}

# on_terminal COLUMNS COMMAND...
on_terminal() {
	local width=$1
	shift
	TERM=xterm script -qec "stty cols $width; $*" /dev/null </dev/null | tr -d '\r'
}

@test "sort: the greatest first, words by the alphabet" {
	run -0 "$SPILLWAY" services --sort service
	assert_equal "$(column 1)" "ant other zebra-whose-name-is-rather-long"
	run -0 "$SPILLWAY" services --sort received
	assert_equal "$(column 1 | cut -d' ' -f1,2)" "zebra-whose-name-is-rather-long ant"
	run -0 "$SPILLWAY" services --sort spilled_packets
	assert_equal "$(column 1 | cut -d' ' -f1)" ant
	run -0 "$SPILLWAY" services --sort level --json
	assert_equal "$(jq -r '.[0].name' <<<"$output")" ant
	run -2 "$SPILLWAY" services --sort nothing
	assert_output "spillway: --sort: no column is called 'nothing': there are service, mode, class, packets/s, received, \
passed, spilled, shadow, level, capacity, users"
}

@test "sort: users, of whom as many as --limit says are the first" {
	first() { [ "$("$SPILLWAY" users --limit 2 --json | jq -c 'map(.user)')" = '["10.0.0.1","10.0.0.2"]' ]; }
	local flooding=()
	EXEC="exec" flood --port 53 --sources 10.0.0.1/32 --users 1 --rate 1000 --seconds 300 >/dev/null 3>&- &
	flooding+=($!)
	EXEC="exec" flood --port 54 --sources 10.0.0.2/32 --users 1 --rate 100 --seconds 300 >/dev/null 3>&- &
	flooding+=($!)
	until_true 60 first
	run -0 "$SPILLWAY" users --limit 1
	assert_equal "$(column 2)" 10.0.0.1
	run -0 "$SPILLWAY" users --limit 1 --sort spilled
	assert_equal "$(column 2)" 10.0.0.2
	kill "${flooding[@]}"
}

@test "watch: again and again, with the screen emptied on a terminal" {
	many() { [ "$(jq -s length "$DIR/screen")" -ge 3 ]; }
	"$SPILLWAY" services --watch 0.2 --json >"$DIR/screen" 3>&- &
	until_true 60 many
	kill $!
	wait $! || true
	drawn() { [ "$(grep -c $'^\e\\[H\e\\[2J' "$DIR/screen")" -ge 3 ]; }
	TERM=xterm script -qefc "$SPILLWAY status --watch 0.2" "$DIR/screen" </dev/null >/dev/null 3>&- &
	until_true 60 drawn
	kill $!
	wait $! || true
	for every in 0 -1 x 1e9 ''; do
		run -2 "$SPILLWAY" users --watch "$every"
		assert_line "spillway: --watch: a number of seconds from 0.1 to 3600 was expected"
	done
	run -3 "$SPILLWAY" users --watch 1 --socket "$DIR/nosuch"
}

@test "a terminal that is narrow: texts are cut, then columns left out, and no line is wider" {
	for width in 20 40 60 80 110; do
		on_terminal "$width" "$SPILLWAY" services >"$DIR/screen"
		assert [ "$(wc -l <"$DIR/screen")" -eq 4 ]
		assert [ "$(wc -L <"$DIR/screen")" -le "$width" ]
	done
	on_terminal 80 "$SPILLWAY" services >"$DIR/screen"
	run -0 cat "$DIR/screen"
	assert_output --regexp 'zebra-[a-z-]*~ '
	run -0 "$SPILLWAY" services
	assert_output --partial zebra-whose-name-is-rather-long
}
