#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# bats file_tags=alone
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
	senders=()
}

teardown() {
	end_senders
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

# send NAME CPU ARGUMENT...: floods from one CPU, before all other work there. Leaves in $DIR/NAME what became of it. A sender
# that needs a part of the processor only goes before one that may need it all, FIRST=1. With EXEC=exec as `flood`.
send() {
	local name=$1 cpu=$2
	shift 2
	${EXEC:-} chrt -f "${FIRST:-2}" taskset -c "$cpu" nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack \
		--destination-mac 02:00:00:00:00:01 --destination 192.0.2.1 --protocol udp --size 64 --json "$@" >"$DIR/$name"
}

end_senders() {
	[ ${#senders[@]} -eq 0 ] || { kill "${senders[@]}" && wait "${senders[@]}"; } || true
	senders=()
}

# assert_held SERVICE LIMIT FILE...: of what the files say was sent, the service passed its limit within 1 %, from the first
# packet to the last, which is an interval before the end, and the second of the burst; and it counted everything.
assert_held() {
	local service=$1 limit=$2 sent seconds
	shift 2
	sent=$(jq -s 'map(.sent) | add' "$@")
	seconds=$(jq -s '(map(.monotonic_begin_seconds + .seconds - .seconds / .sent) | max) -
		(map(.monotonic_begin_seconds) | min)' "$@")
	# Twice as much and more was asked for; a busy machine may not send it all.
	awk "BEGIN {exit !($sent > 1.3 * $limit * $seconds)}" || { echo "only $sent in $seconds s were sent" >&2; return 1; }
	until_true 60 received "$service" "$sent"
	assert_equal "$(($(number "$service" passed_packets) + $(number "$service" spilled_packets)))" "$sent"
	# A part of a packet does not pass: half of one on average.
	near "$(number "$service" passed_packets)" "$(awk "BEGIN {print $limit * ($seconds + 1) - 0.5}")" 1
}

# received SERVICE NUMBER: whether so many have come.
received() {
	[ "$(number "$1" received_packets)" -eq "$2" ]
}

@test "one user is held to 10, 1,000 and 100,000 packets/s within 1 %, from one CPU" {
	config 1000 ten:10:10 thousand:11:1000 hundred-thousand:12:100000
	start
	local sender
	for sender in 10:30 11:3000 12:200000; do
		FIRST=$((${sender%:*} == 12 ? 1 : 2)) send "${sender%:*}" 0 --port "${sender%:*}" --sources 10.0.0.1/32 --users 1 \
			--rate "${sender#*:}" --seconds 10 3>&- &
		senders+=($!)
	done
	wait "${senders[@]}"
	senders=()
	assert_held ten 10 "$DIR/10"
	assert_held thousand 1000 "$DIR/11"
	assert_held hundred-thousand 100000 "$DIR/12"
}

@test "one user is held to 10, 1,000 and 100,000 packets/s within 1 %, from two CPUs at once" {
	(($(nproc) > 1)) || skip "this machine has one CPU"
	config 1000 ten:10:10 thousand:11:1000 hundred-thousand:12:100000
	start
	local sender cpu
	for sender in 10:15 11:1500 12:100000; do
		for cpu in 0 1; do
			FIRST=$((${sender%:*} == 12 ? 1 : 2)) send "${sender%:*}-$cpu" "$cpu" --port "${sender%:*}" \
				--sources 10.0.0.1/32 --users 1 --rate "${sender#*:}" --seconds 10 3>&- &
			senders+=($!)
		done
	done
	wait "${senders[@]}"
	senders=()
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

spills() {
	[ "$(number dns spilled_packets)" -gt 0 ]
}

# Whether charges are settled in batches, as where many users are active.
batches() {
	[ "$("$SPILLWAY" status --json | jq .table.batches)" = "$1" ]
}

@test "10,000 users at their limit lose nothing, beside one who is far over it" {
	# So roomy that five users do not meet in one set: they would share a limit.
	config 500000 dns:53:10
	start
	EXEC="exec" send bad 0 --port 53 --sources 10.9.9.9/32 --users 1 --rate 20000 --seconds 600 3>&- &
	senders=($!)
	until_true 60 spills
	batches false
	send honest 1 --port 53 --sources 10.1.0.0/16 --users 10000 --distribution sequence --rate 100000 --seconds 5
	batches true
	end_senders
	until_true 60 honest_passed "$(jq .sent "$DIR/honest")"
	assert_equal "$(jq .sent "$DIR/honest")" 500000
	assert [ "$(number dns spilled_packets)" -gt $(($(jq .sent "$DIR/bad") * 9 / 10)) ]
	until_true 60 batches false
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
	local user
	for user in 77:9000 78:3000 79:500; do
		EXEC="exec" send "rate-${user%:*}" 0-1 --port 53 --sources "10.0.0.${user%:*}/32" --users 1 --rate "${user#*:}" \
			--seconds 600 3>&- &
		senders+=($!)
	done
	until_true 60 rates_are_told
	end_senders
}
