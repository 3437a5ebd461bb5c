#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Floods of forged sources against users who have earned their tenure, with real frames on a real interface. Nobody is
# granted anything here: the users send for as long as it takes, over a minute.

load common

# Eight epochs of 8.6 s, of the first and the last a part.
EARNING_S=64

setup_file() {
	make_wire
	config 20000
	start
	# Users send from one CPU, before all others there; floods come from the other.
	users --sources 10.1.0.0/16 --users 1000 --rate 10000 --seconds $EARNING_S >"$DIR/steady" 3>&- &
	users --sources 10.2.0.0/16 --users 200 --rate 200 --seconds $EARNING_S >"$DIR/trickle" 3>&- &
}

teardown_file() {
	stop
	remove_wire
}

setup() {
	load_assertions
}

# config CAPACITY: of dns, whose users may each send 20 packets/s.
config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: null
		table: {users: 20000}
		services:
		  - {name: dns, protocol: udp, ports: [53], capacity: $1, limit: {packets_per_second: 20, burst: 20}}
		  - {name: game, protocol: udp, ports: [54], capacity: 100k, limit: {packets_per_second: 100, burst: 100}}
	END
}

# users ARGUMENT...: they send from one CPU, before all others there. With EXEC=exec, in the background, the process is $!.
users() {
	${EXEC:-} chrt -f 1 taskset -c "$(($(nproc) > 1))" nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack \
		--destination-mac 02:00:00:00:00:01 --destination 192.0.2.1 --port 53 --protocol udp --size 64 \
		--distribution sequence --json "$@"
}

# Every user in the table, a line each: ADDRESS TENURED SPILLED.
table() {
	PYTHONPATH="$BATS_TEST_DIRNAME/.." python3 - "$SPILLWAY_PINS" <<-'END'
		import socket, struct, sys
		from pinned_map import cells, pinned_map
		sets, details = (pinned_map(f"{sys.argv[1]}/{name}") for name in ("meter_sets", "meter_details"))
		for at, number in cells(sets):
		    state, = struct.unpack_from("<Q", sets, at)
		    address, spilled = struct.unpack_from("<12x4s24xQ", details, 64 * number)  # struct user_detail
		    print(socket.inet_ntoa(address), state >> 19 & 1, spilled)
	END
}

# sum COLUMN PREFIX: of the users whose addresses begin so, of the table as it was read last.
sum() {
	awk -v column="$1" -v prefix="$2" 'index($1, prefix) == 1 {n += $column} END {print n + 0}' "$DIR/table"
}

# at FIELD: one number of dns, between the times that it was asked for and told at. Who asks is not kept waiting.
at() {
	local begin=$EPOCHREALTIME answer end
	answer=$(chrt -f 1 "$SPILLWAY" services --json) end=$EPOCHREALTIME
	echo "$begin $(jq ".[] | select(.name == \"dns\") | .$1" <<<"$answer") $end"
}

# What of its capacity of 20,000 packets/s dns passes in the next three seconds: `more` than that and a burst, `less`, or
# `all` of it, within 2 %. A counter was read some time between two moments: between two readings lies at least what is
# between the first one's end and the second one's begin, and at most what is between their other ends.
capacity_passed() {
	local first
	first=$(at passed_packets)
	sleep 3
	# Eight ranks' steps are the burst: two jiffies of at most 10 ms, and 8 packets, each.
	echo "$first $(at passed_packets)" | awk '{
		passed = $5 - $2
		print passed > 1.02 * 20000 * ($6 - $1) + 8 * (0.02 * 20000 + 8) ? "more" :
			passed < 0.98 * 20000 * ($4 - $3) ? "less" : "all"}'
}

spills() {
	[ "$(number dns spilled_packets)" -gt "$1" ]
}

# assert_capacity_passed: it is never more. Less it may be for a while, where other work on this machine halts the flood
# for longer than the burst is.
assert_capacity_passed() {
	local part
	for _ in {1..8}; do
		part=$(capacity_passed)
		assert_not_equal "$part" more
		[ "$part" = less ] || return 0
	done
	echo "a service that is flooded passes less than its capacity" >&2
	return 1
}

# beside ARGUMENT...: the tenured send as before, beside a flood as fast as this machine can. They lose under 0.1 %, and
# the service passes its capacity and no more. Other work on this machine may halt a sender for so long that what it then
# sends at once is a burst: so there are five tries.
beside() {
	local flood honest before sent spilled
	for _ in {1..5}; do
		before=$(sum 3 10.1.)
		nice -n -10 taskset -c 0 nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack \
			--destination-mac 02:00:00:00:00:01 --destination 192.0.2.1 --port 53 --protocol udp --size 64 \
			--seconds 120 --json "$@" >"$DIR/flood" 3>&- &
		flood=$!
		until_true 60 spills "$(number dns spilled_packets)"
		EXEC="exec" users --sources 10.1.0.0/16 --users 1000 --rate 10000 --seconds 120 >"$DIR/honest" 3>&- &
		honest=$!
		assert_capacity_passed || { kill "$honest" "$flood"; wait "$honest" "$flood"; return 1; }
		kill "$honest"
		wait "$honest"
		kill "$flood"
		wait "$flood"
		table >"$DIR/table"
		spilled=$(($(sum 3 10.1.) - before)) sent=$(jq .sent "$DIR/honest")
		echo "# flood of $(jq '.packets_per_second | round' "$DIR/flood") packets/s: $spilled of $sent lost" >&3
		((spilled * 1000 > sent)) || return 0
	done
	return 1
}

# While users earn their tenure.
@test "F26: a victim whose address is forged loses while that lasts, and no longer" {
	local victim spilled passed
	EXEC="exec" users --sources 10.3.0.1/32 --rate 50 --seconds 300 --port 54 >"$DIR/victim" 3>&- &
	victim=$!
	flood --sources 10.3.0.1/32 --users 1 --rate 1000 --seconds 3 --port 54 >/dev/null
	sleep 1 # the burst
	spilled=$(number game spilled_packets) passed=$(number game passed_packets)
	assert [ "$spilled" -gt 1000 ]
	assert_equal "$(number game spilled_by_reason.user_limit)" "$spilled"
	until_true 60 eval '[ "$(number game passed_packets)" -gt "$((passed + 100))" ]'
	assert_equal "$(number game spilled_packets)" "$spilled"
	kill "$victim"
	wait "$victim"
}

@test "a minute of steady traffic earns tenure, a packet a second does not" {
	until_true 60 [ -s "$DIR/steady" ]
	until_true 60 [ -s "$DIR/trickle" ]
	table >"$DIR/table"
	# A fifth user of a set of four, rare in so large a table, has no cell.
	assert [ "$(sum 2 10.1.)" -ge 998 ]
	assert_equal "$(sum 2 10.2.)" 0
	assert_equal "$(number dns spilled_packets)" 0
}

@test "1,000 tenured users lose under 0.1 % beside a flood from sources that never repeat" {
	beside --sources 0.0.0.0/0 --distribution unique
}

@test "1,000 tenured users lose under 0.1 % beside a flood from a recycled pool of a million" {
	beside --sources 11.0.0.0/8 --users 1000000 --distribution sequence
}
