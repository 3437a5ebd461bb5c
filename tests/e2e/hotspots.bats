#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Hot spots of real traffic: who makes the heat is told as it begins and as it ends, in events, in status and in metrics.

load common

setup_file() {
	make_wire
}

teardown_file() {
	remove_wire
}

setup() {
	load_assertions
	configure <<-END
		services:
		  - {name: dns, protocol: udp, ports: [53]}
		  - {name: game, protocol: udp, ports: [27015], limit: {packets_per_second: 100, burst: 20}}
	END
	senders=()
	watching=
	start
	"$SPILLWAY" watch --recent 1 >"$DIR/events" 3>&- &
	watching=$!
	until_true 60 test -s "$DIR/events"
}

teardown() {
	for sender in "${senders[@]}" $watching; do
		kill "$sender" 2>/dev/null || true
	done
	stop
}

# send OPTION...: in the background.
send() {
	EXEC="exec" flood --seconds 600 "$@" >/dev/null 3>&- &
	senders+=($!)
}

# stop_last: the sender that was begun last.
stop_last() {
	kill "${senders[-1]}"
	wait "${senders[-1]}" || true
	unset 'senders[-1]'
}

# told EVENT SERVICE USER
told() {
	jq -e "select(.event == \"$1\" and .service == \"$2\" and .user == $3)" "$DIR/events" >/dev/null
}

# since MOMENT EVENT USER: seconds from that moment (date +%s.%N) to the event about the user.
since() {
	jq -n --arg from "$1" --arg event "$2" --arg user "$3" 'first(inputs | select(.event == $event and .user == $user))
		| (.time[:19] + "Z" | fromdate) + (.time[20:23] | tonumber) / 1000 - ($from | tonumber) | . * 100 | round / 100' \
		"$DIR/events"
}

hot() {
	"$SPILLWAY" status --json | jq -e ".hotspots | map([.service, .user]) == $1" >/dev/null
}

@test "a heavy user, one over its limit, and a crowd of one prefix: each begins, lasts, and ends by its name" {
	send --port 53 --sources 10.1.0.0/16 --users 500 --rate 500
	sleep 12 # a service that is new has no past to be held against
	assert hot '[]'

	local began ended
	began=$(date +%s.%N)
	send --port 53 --sources 198.51.100.7/32 --users 1 --rate 3000
	until_true 60 told hotspot_begin dns '"198.51.100.7"'
	assert hot '[["dns", "198.51.100.7"]]'
	run -0 curl -sS --unix-socket "$SPILLWAY_SOCKET" http://localhost/metrics
	assert_line 'spillway_hotspot{service="dns",user="198.51.100.7"} 1'
	run -0 "$SPILLWAY" status
	assert_output --regexp 'HOT +SERVICE .*'
	assert_output --regexp '198\.51\.100\.7 +dns .*% of the service: [0-9]+ times the others. average of [0-9.]+'
	ended=$(date +%s.%N)
	stop_last
	until_true 60 told hotspot_end dns '"198.51.100.7"'
	began=$(since "$began" hotspot_begin 198.51.100.7)
	ended=$(since "$ended" hotspot_end 198.51.100.7)
	echo "# told $began s after it began, and $ended s after it had ended" >&3
	until_true 60 hot '[]'

	send --port 27015 --sources 198.51.100.8/32 --users 1 --rate 500
	until_true 60 told hotspot_begin game '"198.51.100.8"'
	run -0 jq -r 'select(.event == "hotspot_begin" and .service == "game") | .why' "$DIR/events"
	assert_output --regexp '^[0-9]+ packets/s, ([89][0-9]|100) % of the service: [2-5]\.[0-9] times its limit of 100$'
	stop_last
	until_true 60 told hotspot_end game '"198.51.100.8"'

	send --port 53 --sources 203.0.113.0/24 --users 200 --rate 3000
	until_true 60 told hotspot_begin dns '"203.0.113.0/24"'
	assert hot '[["dns", "203.0.113.0/24"]]'
	stop_last
	until_true 60 told hotspot_end dns '"203.0.113.0/24"'
	# Nothing else was hot.
	run -0 jq -rs 'map(select(.event == "hotspot_begin") | .user) | unique | join(" ")' "$DIR/events"
	assert_output "198.51.100.7 198.51.100.8 203.0.113.0/24"
}
