#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# bats file_tags=alone
# What it is all for: real servers go on answering real clients while a flood comes in, over IPv4, over IPv6, and on
# tagged frames. The clients' answers are the proof.

load common

setup_file() {
	name_places
	export CLIENT="$O/spillway-client"
	export LAB_SH="$BATS_TEST_DIRNAME/../../tools/lab.sh"
	export LAB="s$$"
	# The laboratory's users are neighbours: one /64 has them all.
	local user='{kind: source, ipv6: 128}'
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [edge0]
		mode: enforce
		listen: null
		table: {users: 10000}
		services:
		  - name: web
		    protocol: tcp
		    ports: [80]
		    user: $user
		    limit: {packets_per_second: 500, burst: 500}
		  - name: dns
		    protocol: udp
		    ports: [53]
		    user: $user
		    limit: {packets_per_second: 100, burst: 100}
	END
}

setup() {
	load_assertions
}

teardown() {
	stop
	"$SPILLWAY" unload
	"$LAB_SH" down --name "$LAB"
}

# attack SERVER SOURCES: eight attackers, 100,000 packets/s to the DNS server, until it is killed.
attack() {
	exec "$LAB_SH" exec "$LAB" attacker -- "$TRAFFIC" --interface attack0 --destination-mac 02:53:57:00:00:01 \
		--destination "$1" --port 53 --protocol udp --size 80 --sources "$2" --users 8 \
		--distribution sequence --rate 100000 --seconds 600 --json
}

# assert_serves SERVER SOURCES ATTACKER: ATTACKER is how the attackers' addresses begin.
assert_serves() {
	local server=$1 sources=$2 attacker=$3 flood
	PLACE="swl-$LAB-edge" start
	attack "$server" "$sources" >"$DIR/flood" 3>&- &
	flood=$!
	until_true 60 spills
	"$LAB_SH" exec "$LAB" users -- chrt -f 1 "$CLIENT" --server "$server" --users 20 --http 5 --dns 10 --seconds 4 --json \
		>"$DIR/clients"
	kill "$flood"
	wait "$flood"

	jq -c '.total' "$DIR/clients"
	assert [ "$(jq .total.sent "$DIR/clients")" -ge 1100 ]
	jq -e '[.http, .dns, .total] | all(.answered >= 0.99 * .sent)' "$DIR/clients"

	# Once users have been looked at since the last packet, the attackers' spilled packets are all there are.
	until_true 60 attackers_spilled_all "$attacker"
	# They had their burst and their limit; the flood came in.
	assert [ "$(number dns spilled_packets)" -gt $(($(jq .sent "$DIR/flood") * 8 / 10)) ]
	assert [ "$(number web spilled_packets)" -eq 0 ]

	# Nothing is counted twice or not at all; and nothing is counted for dns that was not sent to it.
	jq -e 'all(.[]; .received_packets == .passed_packets + .spilled_packets and
		.spilled_packets == ([.spilled_by_reason[]] | add))' <<<"$("$SPILLWAY" services --json)"
	assert [ "$(number dns received_packets)" -le $(($(jq .sent "$DIR/flood") + $(jq .dns.sent "$DIR/clients"))) ]
}

spills() {
	[ "$(number dns spilled_packets)" -gt 0 ]
}

# attackers_spilled_all ATTACKER: whether eight users whose addresses begin so, and they alone, have spilled what dns has.
attackers_spilled_all() {
	"$SPILLWAY" users --service dns --limit 100 --json >"$DIR/users"
	jq -e --arg attacker "$1" --argjson spilled "$(number dns spilled_packets)" \
		'map(select(.spilled_packets > 0)) | length == 8 and all(.[]; .user | startswith($attacker)) and
			(map(.spilled_packets) | add) == $spilled' "$DIR/users" >/dev/null
}

@test "over IPv4" {
	nice -n -10 "$LAB_SH" up --name "$LAB" --users 20
	assert_serves 10.99.0.1 10.99.200.0/28 10.99.200.
}

@test "over IPv6" {
	nice -n -10 "$LAB_SH" up --name "$LAB" --users 20
	assert_serves fd00:99::1 fd00:aa::/48 fd00:aa:
}

@test "on frames with a VLAN tag" {
	nice -n -10 "$LAB_SH" up --name "$LAB" --users 20 --vlan 7
	assert_serves 10.99.0.1 10.99.200.0/28 10.99.200.
}
