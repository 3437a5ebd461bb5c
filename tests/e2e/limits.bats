#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Limits are held and rates are told, with real frames on a real interface.

load common

setup_file() {
	make_wire
}

teardown_file() {
	remove_wire
}

setup() {
	load_assertions
}

teardown() {
	stop
	"$SPILLWAY" unload
}

# config USERS SERVICE...: a service is NAME:PORT:PACKETS_PER_SECOND, and its burst that of a second.
config() {
	local service name port limit
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: null
		table: {users: $1}
		services:
	END
	shift
	for service in "$@"; do
		IFS=: read -r name port limit <<<"$service"
		cat >>"$DIR/spillway.yaml" <<-END
			  - name: $name
			    protocol: udp
			    ports: [$port]
			    limit: {packets_per_second: $limit, burst: $limit}
		END
	done
}

# send NAME CPU ARGUMENT...: floods from one CPU. Leaves in $DIR/NAME how many were sent, and from when to when: the last
# one an interval before the end.
send() {
	local name=$1 cpu=$2 sent
	shift 2
	sent=$(
		taskset -cp "$cpu" "$BASHPID" >/dev/null
		flood "$@"
	)
	jq --argjson now "$(date +%s.%N)" '
		{sent, from: ($now - .seconds), until: ($now - .seconds / .sent)}' <<<"$sent" >"$DIR/$name"
}

# assert_held SERVICE LIMIT FILE...: of what the files say was sent, the service passed its limit within 1 %, for as long
# as it lasted and the second of the burst, and counted everything.
assert_held() {
	local service=$1 limit=$2 sent seconds
	shift 2
	sent=$(jq -s 'map(.sent) | add' "$@")
	seconds=$(jq -s '(map(.until) | max) - (map(.from) | min)' "$@")
	# Three times as much was asked for; a busy machine may not send it all.
	awk "BEGIN {exit !($sent > 1.5 * $limit * $seconds)}" || { echo "only $sent in $seconds s were sent" >&2; return 1; }
	assert_equal "$(number "$service" received_packets)" "$sent"
	assert_equal "$(($(number "$service" passed_packets) + $(number "$service" spilled_packets)))" "$sent"
	# A part of a packet does not pass: half of one on average.
	near "$(number "$service" passed_packets)" "$(awk "BEGIN {print $limit * ($seconds + 1) - 0.5}")" 1
}

@test "one user is held to 10, 1,000 and 100,000 packets/s within 1 %, from one CPU" {
	config 1000 ten:10:10 thousand:11:1000 hundred-thousand:12:100000
	start
	local sender senders=()
	for sender in 10:30 11:3000 12:300000; do
		send "${sender%:*}" 0 --port "${sender%:*}" --sources 10.0.0.1/32 --users 1 --rate "${sender#*:}" \
			--seconds 10 3>&- &
		senders+=($!)
	done
	wait "${senders[@]}"
	assert_held ten 10 "$DIR/10"
	assert_held thousand 1000 "$DIR/11"
	assert_held hundred-thousand 100000 "$DIR/12"
}

@test "one user is held to 10, 1,000 and 100,000 packets/s within 1 %, from two CPUs at once" {
	(($(nproc) > 1)) || skip "this machine has one CPU"
	config 1000 ten:10:10 thousand:11:1000 hundred-thousand:12:100000
	start
	local sender cpu senders=()
	for sender in 10:15 11:1500 12:150000; do
		for cpu in 0 1; do
			send "${sender%:*}-$cpu" "$cpu" --port "${sender%:*}" --sources 10.0.0.1/32 --users 1 \
				--rate "${sender#*:}" --seconds 10 3>&- &
			senders+=($!)
		done
	done
	wait "${senders[@]}"
	assert_held ten 10 "$DIR"/10-?
	assert_held thousand 1000 "$DIR"/11-?
	assert_held hundred-thousand 100000 "$DIR"/12-?
	# Both CPUs did judge: each took what came on its own queue.
	run ethtool -S "$IFACE"
	assert_output --regexp 'rx_queue_0_xdp_packets: [1-9][0-9]{5}'
	assert_output --regexp 'rx_queue_1_xdp_packets: [1-9][0-9]{5}'
}

# Whether dns passed all packets of the honest, and beside them only what its user 10.9.9.9 passed.
honest_passed() {
	local heaviest
	heaviest=$("$SPILLWAY" users --service dns --limit 1 --json)
	[ "$(jq -r '.[0].user' <<<"$heaviest")" = 10.9.9.9 ] &&
		[ $(($1 + $(jq '.[0].passed_packets' <<<"$heaviest"))) -eq "$(number dns passed_packets)" ]
}

@test "10,000 users at their limit lose nothing, beside one who is far over it" {
	# So roomy that five users do not meet in one set: they would share a limit.
	config 500000 dns:53:10
	start
	send bad 0 --sources 10.9.9.9/32 --users 1 --rate 20000 --seconds 8 3>&- &
	local bad=$!
	send honest 1 --sources 10.1.0.0/16 --users 10000 --distribution sequence --rate 100000 --seconds 5
	until_true 8 honest_passed "$(jq .sent "$DIR/honest")"
	wait "$bad"
	assert [ "$(jq .sent "$DIR/honest")" -gt 450000 ]
	assert [ "$(number dns spilled_packets)" -gt $(($(jq .sent "$DIR/bad") * 9 / 10)) ]
}

# Whether the heaviest users are told to be at the rates that they send at, within 2 %.
rates_are_told() {
	local users user expected
	users=$("$SPILLWAY" users --service dns --limit 3 --json)
	for user in 10.0.0.77:9000 10.0.0.78:3000 10.0.0.79:500; do
		expected=${user#*:}
		jq -e --arg user "${user%:*}" --argjson rate "$expected" \
			'any(.[]; .user == $user and .packets_per_second > 0.98 * $rate and .packets_per_second < 1.02 * $rate
				and .bytes_per_second >= 0)' <<<"$users" >/dev/null || return 1
	done
}

@test "heavy users are named by address with their rates, within 2 % over 2 s" {
	config 10000 dns:53:1000
	start
	local user senders=()
	for user in 77:9000 78:3000 79:500; do
		send "rate-${user%:*}" 0-1 --sources "10.0.0.${user%:*}/32" --users 1 --rate "${user#*:}" \
			--seconds 9 3>&- &
		senders+=($!)
	done
	until_true 8 rates_are_told
	wait "${senders[@]}"
}
