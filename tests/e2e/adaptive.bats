#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Levels that find themselves, before a server that can do 500 requests a second: the daemon, the kernel, and users.

load common

setup_file() {
	name_places
	export PLACE="swa-edge-$$" USERS="swa-users-$$"
	ip netns add "$PLACE"
	ip netns add "$USERS"
	ip link add edge netns "$PLACE" address 02:00:00:00:00:01 type veth \
		peer name wire netns "$USERS" address 02:00:00:00:00:02
	ip -n "$PLACE" addr add 10.99.0.1/16 dev edge
	ip -n "$PLACE" link set edge up
	ip -n "$USERS" link set wire up
	# The well-behaved are 10.99.1.1 and the nine behind it, the flooders 10.99.2.0 to 3.
	local address
	for address in 1.{1..10} 2.{0..3}; do
		ip -n "$USERS" addr add "10.99.$address/16" dev wire
	done
}

teardown_file() {
	ip netns del "$PLACE"
	ip netns del "$USERS"
}

setup() {
	load_assertions
	rm -f "$DIR"/*.pid
	client=
}

teardown() {
	[ -n "$BATS_TEST_COMPLETED" ] || "$SPILLWAY" services --json | jq -c '.[] | {name, adaptive}' >&2 || true
	[ -n "$BATS_TEST_COMPLETED" ] || cat "$DIR/log" >&2 || true
	local pid
	for pid in "$DIR"/*.pid; do
		[ -e "$pid" ] && { kill -TERM "$(cat "$pid")" && kill -CONT "$(cat "$pid")"; } 2>/dev/null || true
	done
	[ -z "${client:-}" ] || { kill "$client" 2>/dev/null && wait "$client"; } || true
	[ -e "$DIR/pid" ] && { kill -CONT "$(cat "$DIR/pid")" 2>/dev/null || true; }
	stop
	"$SPILLWAY" unload
}

# config SERVICE...: each the rest of a service's line.
config() {
	{
		printf '%s\n' 'interfaces: [edge]' 'mode: enforce' 'listen: null' 'history: null' 'table: {users: 10000}' \
			'controller: {relax_after: 8s}' 'services:'
		printf '  - {protocol: udp, adaptive: {minimum: 5, maximum: 10k, target_response: 200ms}, %s}\n' "$@"
	} >"$DIR/spillway.yaml"
}

# serve PORT... [--silent PORT...]
serve() {
	chrt -f 1 nsenter --net="/run/netns/$PLACE" python3 "$BATS_TEST_DIRNAME/queue_server.py" 10.99.0.1 2 "$@" 3>&- &
	echo $! >"$DIR/server.pid"
}

# Ten users ask ten times a second each, and wait no longer than a second.
behave() {
	chrt -f 1 nsenter --net="/run/netns/$USERS" "$O/spillway-client" --server 10.99.0.1 --users 10 --http 0 --dns 10 \
		--seconds "$1" --json >"$DIR/client.json" 3>&- &
	client=$!
}

# misbehave PORT SOURCES USERS RATE SECONDS: they send queries, and do not care for answers.
misbehave() {
	chrt -f 1 nsenter --net="/run/netns/$USERS" "$TRAFFIC" --interface wire --destination-mac 02:00:00:00:00:01 \
		--destination 10.99.0.1 --port "$1" --sources "$2" --users "$3" --rate "$4" --seconds "$5" \
		--payload 123401000001000000000000076578616d706c6503636f6d0000010001 --json >"$DIR/flood.$1.json" 3>&- &
	echo $! >"$DIR/flood.$!.pid"
	wait $!
}

watch_events() {
	"$SPILLWAY" watch --json --recent 1000 >"$DIR/events" 3>&- &
	echo $! >"$DIR/watch.pid"
}

# events FILTER: those that a jq filter selects, one a line.
events() {
	jq -c "select($1)" "$DIR/events"
}

level_is_felt() {
	(($(number dns 'level_packets_per_second | floor') < 1000))
}

no_level_is_felt() {
	(($(number dns 'level_packets_per_second | floor') == 10000))
}

told() {
	[ -n "$(events "$1")" ]
}

# share PREFIX: of what the users with such an address have sent, the part that was spilled.
share() {
	"$SPILLWAY" users --service dns --json | jq --arg prefix "$1" '[.[] | select(.user | startswith($prefix))] |
		(map(.spilled_packets) | add) / (map(.passed_packets + .spilled_packets) | add)'
}

# is_below NUMBER NUMBER
is_below() {
	awk -v a="$1" -v b="$2" 'BEGIN {exit !(a < b)}' || { echo "$1 is not below $2" >&2; return 1; }
}

@test "a flood by few lowers the level to where the others lose nothing, and no level is felt soon after it" {
	config "name: dns, ports: [53]"
	serve 53
	start
	watch_events
	no_level_is_felt
	behave 10
	sleep 1
	misbehave 53 10.99.2.0/30 3 1500 6 3>&- &
	until_true 60 level_is_felt
	wait $!
	# Those who ask for little have lost little of it: what came before the flooders were known.
	is_below "$(share 10.99.1.)" 0.3
	is_below 0.5 "$(share 10.99.2.)"
	# An event says what moved, from where to where, and why.
	until_true 60 told '.event == "level" and .after < 1000'
	run events '.event == "level" and .after < 1000'
	# By then the signal may be within its target again, since the capacity fell before it was known by whom.
	assert_equal "$(head -1 <<<"$output" | jq -c '[.service, .unit, (.value, .target | type), .before, .after >= 5,
		.users_above >= 1, (.why | length > 20)]')" \
		'["dns","packets_per_second","number","number",10000,true,true,true]'
	# The three may have become known one after the other.
	until_true 60 told '.event == "level" and .users_above >= 3'
	assert [ "$(number dns spilled_by_reason.user_limit)" -gt 1000 ]
	until_true 60 no_level_is_felt
	run events '.event == "level"'
	assert_equal "$(tail -1 <<<"$output" | jq .after)" 10000
	assert_equal "$("$SPILLWAY" status --json | jq -c '.controller | .alive, .tick_milliseconds < 1000')" $'true\ntrue'
}

early_ticks() {
	"$SPILLWAY" status --json | jq .controller.early_ticks
}

@test "a flood brings the next tick forward, which ordinary traffic does not" {
	config "name: dns, ports: [53]"
	serve 53
	start
	behave 300
	until_true 60 eval '[ "$(number dns capacity_packets_per_second)" != null ]'
	assert_equal "$(early_ticks)" 0
	# One flood in five begins so shortly before a tick that nothing is gained by another.
	local flood
	for flood in {1..6}; do
		until_true 60 no_level_is_felt
		misbehave 53 10.99.2.0/30 3 10000 1
		[ "$(early_ticks)" -eq 0 ] || break
	done
	assert [ "$(early_ticks)" -ge 1 ]
}

@test "a killed daemon's level stays for the next one; a stopped one's relaxes to the maximum (F04)" {
	config "name: dns, ports: [53]"
	serve 53
	start
	misbehave 53 10.99.2.0/30 3 1500 300 3>&- &
	until_true 60 level_is_felt
	kill -KILL "$(cat "$DIR/pid")"
	start
	run ! no_level_is_felt
	local spilled
	spilled=$(number dns spilled_by_reason.user_limit)
	until_true 60 eval '(($(number dns spilled_by_reason.user_limit) > spilled + 100))'
	kill -STOP "$(cat "$DIR/pid")"
	# Nobody stands by the level: eight seconds later it counts no longer, and a step of the clock more.
	sleep 9.5
	misbehave 53 10.99.2.3/32 1 1000 1
	kill -CONT "$(cat "$DIR/pid")"
	until_true 60 eval '"$SPILLWAY" users --service dns --json |
		jq -e ".[] | select(.user == \"10.99.2.3\" and .passed_packets == 1000 and .spilled_packets == 0)"'
	# What is measured of a time so long is nothing to act on.
	assert [ "$("$SPILLWAY" status --json | jq .controller.late_ticks)" -ge 1 ]
}

@test "what is set by hand counts until it lapses, and the controller's wish is seen beside it" {
	config "name: dns, ports: [53]" "name: big, ports: [54]"
	sed -i '/name: big/s/minimum: 5, maximum: 10k/minimum_bytes: 1kB, maximum_bytes: 1GB/' "$DIR/spillway.yaml"
	start
	"$SPILLWAY" set big level=1M
	assert_equal "$(number big level_packets_per_second)" null
	assert_equal "$(number big 'level_bytes_per_second == 1e6')" true
	run -1 "$SPILLWAY" set big level=10
	assert_output --partial "bytes a second from 64"
	run -1 "$SPILLWAY" set dns level=1G
	"$SPILLWAY" set dns level=50 capacity=900 --for 1h
	run jq -c '.[] | select(.name == "dns") | [.level_packets_per_second, .wished_level_packets_per_second,
		.capacity_packets_per_second, .wished_capacity_packets_per_second,
		.adaptive.level_held, .adaptive.capacity_held]' <<<"$("$SPILLWAY" services --json)"
	assert_output --regexp '^\[50.*,10000.*,900.*,.*,true,true\]$'
	"$SPILLWAY" set dns level=50 capacity=900 --for 1s
	until_true 60 no_level_is_felt
	assert_equal "$(number dns adaptive.level_held),$(number dns adaptive.capacity_held)" false,false
}

@test "a service that answers nothing by nature is not called dead, said so or not" {
	config "name: syslog, ports: [514], replies: no" "name: sink, ports: [515]" "name: dns, ports: [53]"
	sed -i '/name: syslog/s/, target_response: 200ms//' "$DIR/spillway.yaml"
	serve 53 --silent 514 515
	start
	watch_events
	misbehave 514 10.99.2.1/32 1 200 4 3>&- &
	misbehave 515 10.99.2.1/32 1 200 4
	wait $!
	run events '.event == "fault" and .service'
	assert_output ""
	# One that has answered and ceases to is, and is heard to be back.
	behave 120
	until_true 60 eval '(($(number dns response_milliseconds.sampled) > 20))'
	kill -STOP "$(cat "$DIR/server.pid")"
	until_true 60 told '.event == "fault" and .service == "dns"'
	kill -CONT "$(cat "$DIR/server.pid")"
	until_true 60 told '.event == "recovery" and .service == "dns"'
}

@test "a flood above the configured capacity moves the level, and no capacity" {
	config "name: syslog, ports: [514], replies: no, capacity: {minimum: 10, maximum: 200}"
	sed -i '/name: syslog/s/, target_response: 200ms//' "$DIR/spillway.yaml"
	start
	watch_events
	misbehave 514 10.99.2.0/31 2 2000 3
	until_true 60 told '.event == "level" and .service == "syslog" and .after < 200'
	# What other work on this machine does to the host is another signal's.
	run events '.event == "capacity" and .signal != "host"'
	assert_output ""
}

@test "of two services of one process the one that is flooded is limited, and the other's users go on" {
	config "name: dns, ports: [53]" "name: other-dns, ports: [54]"
	serve 53 54
	start
	behave 8
	sleep 1
	misbehave 54 10.99.2.0/30 3 1500 6
	assert [ "$(number other-dns spilled_by_reason.user_limit)" -gt 1000 ]
	is_below "$(number dns 'spilled_packets / .received_packets')" \
		"$(number other-dns 'spilled_packets / .received_packets / 2')"
}

@test "bounds that cannot be are refused with their line" {
	config "name: dns, ports: [53]"
	sed -i 's/minimum: 5/minimum: 50k/' "$DIR/spillway.yaml"
	run -4 "$SPILLWAY" check "$DIR/spillway.yaml"
	assert_output --partial ":8:31:"
	assert_output --partial "minimum 50000 is above maximum 10000"
}
