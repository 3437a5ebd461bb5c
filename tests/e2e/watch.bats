#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Events as they happen: what a reader is told, by `spillway watch` and over HTTP; readers that are slow, or too many.

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
		hotspots: {level: 0, packets_per_second: 1M} # of the few events here each is looked for
		services:
		  - {name: web, protocol: tcp, ports: [80], limit: {packets_per_second: 100, burst: 10}}
		  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 100, burst: 100}}
	END
	watching=
	start
}

teardown() {
	[ -z "$watching" ] || kill "$watching" 2>/dev/null || true
	stop
}

# watch [OPTION...]: begins to watch, into $DIR/events, and waits until the daemon has taken it.
watch() {
	: >"$DIR/events" # what an earlier test has seen says nothing of this reader
	"$SPILLWAY" watch --recent 1 "$@" >"$DIR/events" 2>"$DIR/events.errors" 3>&- &
	watching=$!
	until_true 60 test -s "$DIR/events"
}

# seen FILTER [COUNT]: so many (1) of the events make the jq filter true.
seen() {
	[ "$(jq -c "select($1)" "$DIR/events" | wc -l)" -eq "${2:-1}" ]
}

@test "each event is a line of JSON with its time and why, as it happens" {
	watch
	"$SPILLWAY" set dns level=50 mode=observe --for 2s
	until_true 60 seen '.event == "override" and .action == "set"'
	"$SPILLWAY" deny 192.0.2.7 --for 10m
	"$SPILLWAY" reload
	sed -i 's/protocol: tcp/protocol: tcb/' "$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	until_true 60 seen '.event == "override" and .action == "lapsed" and .service == "dns"'
	until_true 60 seen '.event == "reload" and .applied == false'
	run -0 jq -se 'all((.time | test("^[0-9-]{10}T[0-9:]{8}[.][0-9]{3}Z$")) and (.event | type == "string")
		and (.why | type == "string") and (keys_unsorted[0] == "time"))' "$DIR/events"
	assert seen '.event == "override" and .service == "dns" and .level_packets_per_second == 50 and .mode == "observe"
		and .for_seconds == 2 and .why == "set by hand, mode observe, level 50 packets/s, for 2 s"'
	assert seen '.event == "lists" and .list == "deny" and .prefixes == 1 and .for_seconds == 600
		and .why == "denied by hand: 192.0.2.7, for 10m"'
	assert seen '.event == "reload" and .applied and .services == 2 and .why == "configuration applied: 2 services"'
	assert seen '.event == "reload" and (.applied | not) and (.why | test("yaml:8:27: found .tcb."))'
	# The log says the same in the same words.
	run -0 grep -c "^spillway: service dns: set by hand, mode observe, level 50 packets/s, for 2 s$" "$DIR/log"
	assert_output 1
}

@test "an interface that goes and comes back" {
	watch
	ip link del "$IFACE"
	until_true 60 seen '.event == "interface" and (.attached | not) and .mode == null'
	lay_wire
	until_true 60 seen '.event == "interface" and .attached and .mode == "native" and (.why | test("is there"))'
	assert_equal "$(jq -r 'select(.event == "interface") | .interface' "$DIR/events" | sort -u)" "$IFACE"
}

# stream FILE COUNT QUERY [CURL OPTION...]: what comes over HTTP, until so many events have come and a moment more.
stream() {
	local file=$1 count=$2 query=$3
	shift 3
	come() { [ "$(grep -c '^data: {' "$file")" -ge "$count" ]; }
	curl -sN --unix-socket "$SPILLWAY_SOCKET" "$@" "http://localhost/api/v1/events$query" >"$file" 3>&- &
	until_true 60 come
	sleep 0.3
	kill $!
	wait $! || true
	assert_equal "$(grep -c '^data: {' "$file")" "$count"
}

@test "of one service alone; of the past; and over HTTP after a break what was missed" {
	"$SPILLWAY" set web level=70
	"$SPILLWAY" set dns level=71
	"$SPILLWAY" set web level=72
	watch --recent 2 --service web
	until_true 60 seen '.service == "web"'
	"$SPILLWAY" set dns level=73
	"$SPILLWAY" set web level=74
	until_true 60 seen '.level_packets_per_second == 74'
	run -0 jq -sce 'map(.level_packets_per_second) == [72, 74]' "$DIR/events"

	stream "$DIR/sse" 3 '?recent=3'
	local id
	id=$(sed -n 's/^id: //p' "$DIR/sse" | head -n 1)
	stream "$DIR/sse.again" 2 '' -H "Last-Event-ID: $id"
	assert_equal "$(sed -n 's/^data: //p' "$DIR/sse.again")" "$(sed -n 's/^data: //p' "$DIR/sse" | tail -n 2)"
}

@test "on a terminal an event is a line to be read, coloured unless NO_COLOR says otherwise" {
	export TERM=xterm
	"$SPILLWAY" set dns level=75
	screen() {
		rm -f "$DIR/typescript"
		script -qefc "$*" "$DIR/typescript" </dev/null >/dev/null 3>&- &
		until_true 60 grep -qs override "$DIR/typescript"
		kill $!
		wait $! || true
		sed '/^Script \(started\|done\)/d' "$DIR/typescript" | tr -d '\r' >"$DIR/screen"
	}
	screen "$SPILLWAY" watch --recent 1
	run -0 cat "$DIR/screen"
	assert_output --regexp $'^[0-9:]{8}  \e\\[36moverride     \e\\[0m  dns - set by hand, level 75 packets/s'
	NO_COLOR=1 screen "$SPILLWAY" watch --recent 1
	run -0 cat "$DIR/screen"
	assert_output --regexp '^[0-9:]{8}  override       dns - set by hand'
	screen "$SPILLWAY" watch --recent 1 --json
	assert_equal "$(jq -r .event "$DIR/screen")" override
}

@test "exit statuses: what is wrong is said" {
	run -1 "$SPILLWAY" watch --service nosuch
	assert_output "spillway: service nosuch: there is none of that name: 'spillway services' lists them"
	run -2 "$SPILLWAY" watch --recent many
	run -2 "$SPILLWAY" watch more
	run -3 "$SPILLWAY" watch --socket "$DIR/nosuch"
	watch
	stop
	local status=0
	wait "$watching" || status=$?
	assert_equal "$status" 3
	assert_equal "$(cat "$DIR/events.errors")" \
		"spillway: $SPILLWAY_SOCKET: the daemon has gone: 'spillway run' starts it, shedding goes on without it"
}

@test "F23: a reader that does not read is told how many events it lost; nobody waits for it, and no verdict changes" {
	EXEC="exec" flood --sources 10.0.0.1/32 --users 1 --rate 1000 --seconds 300 >"$DIR/flood" 3>&- &
	local flooding=$!
	run -0 python3 "$BATS_TEST_DIRNAME/readers.py" "$SPILLWAY_SOCKET" slow 3000
	read -r came lost <<<"$output"
	assert [ "$came" -gt 100 ]
	assert [ "$lost" -gt 100 ]
	assert_equal "$((came + lost))" 3000
	run -0 curl -sS --max-time 5 --unix-socket "$SPILLWAY_SOCKET" http://localhost/metrics
	assert_line "spillway_event_reader_losses_total $lost"
	assert_line 'spillway_events_total{event="lists"} 3000'
	sleep 2
	kill "$flooding"
	wait "$flooding"
	until_true 60 eval '[ "$(number dns received_packets)" -eq "$(jq .sent "$DIR/flood")" ]'
	# 100 a second and the burst, of 1,000.
	near "$(number dns passed_packets)" "$(jq '.seconds * 100 + 100' "$DIR/flood")" 5
}

@test "F28: a thousand readers: 128 are served, the others refused with why, and their places are given away again" {
	python3 "$BATS_TEST_DIRNAME/readers.py" "$SPILLWAY_SOCKET" many 1000 >"$DIR/readers" 2>&1 3>&- &
	watching=$!
	until_true 60 test -s "$DIR/readers"
	assert_equal "$(cat "$DIR/readers")" "128 872"
	run -1 "$SPILLWAY" watch
	assert_output --partial "128 readers are being served"
	run -0 curl -sS --max-time 5 --unix-socket "$SPILLWAY_SOCKET" http://localhost/metrics
	assert_line "spillway_event_readers 128"
	kill "$watching"
	wait "$watching" || true
	watch
}
