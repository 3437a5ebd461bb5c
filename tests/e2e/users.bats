#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# Whose packets count together, and who goes first: what `users` and `services` say of them, and what `set` changes.

load ../fault/common

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
	[ -z "$daemon" ] || { "$SPILLWAY" unload; wait "$daemon" || true; }
}

# configure KEYS...: a line each for the service dns.
configure() {
	config | sed '/limit:/d' >"$CONFIG"
	printf '    %s\n' "$@" >>"$CONFIG"
}

# send SOURCE PAYLOAD COUNT: UDP datagrams with a payload in hex to port 53.
send() {
	nsenter --net="/run/netns/$NS" python3 - "$@" <<-END
		import socket, struct, sys
		source, payload, count = socket.inet_aton(sys.argv[1]), bytes.fromhex(sys.argv[2]), int(sys.argv[3])
		udp = struct.pack(">HHHH", 1024, 53, 8 + len(payload), 0) + payload
		ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(udp), 0, 0, 64, 17, 0, source, socket.inet_aton("192.0.2.1"))
		wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
		wire.bind(("attack", 0))
		for _ in range(count):
		    wire.send(bytes.fromhex("020000000001020000000002" "0800") + ip + udp)
	END
}

# service KEY: of the service dns, as JSON.
service() {
	"$SPILLWAY" services --json | jq -c ".[] | select(.name == \"dns\") | .$1"
}

# user NAME KEY: of a user of the service dns.
user() {
	"$SPILLWAY" users --service dns --limit 100 --json | jq -c ".[] | select(.user == \"$1\") | .$2"
}

# users_are FILTER: whether the jq filter is true of all users of the service dns.
users_are() {
	"$SPILLWAY" users --service dns --limit 100 --json | jq -e "$1" >/dev/null
}

# is VALUE COMMAND...: what the command prints.
is() {
	[ "$("${@:2}")" = "$1" ]
}

metric() {
	curl -sf --unix-socket "$SPILLWAY_SOCKET" http://localhost/metrics | sed -n "s/^$1 //p"
}

@test "users have a kind, and are tenured or not where there is a capacity" {
	configure "limit: {packets_per_second: 1000}"
	start
	# Who sends nothing is not told for long.
	source_is() {
		send 10.0.0.7 00 5
		users_are 'length == 1 and .[0].user == "10.0.0.7" and .[0].kind == "source" and .[0].tenured == '"$1"
	}
	within 60 source_is null
	configure "limit: {packets_per_second: 1000}" "capacity: 500k"
	"$SPILLWAY" reload
	within 60 source_is false
}

@test "users of kind payload are named by their bytes in hex" {
	configure "user: {kind: payload, offset: 2, length: 4}"
	start
	payload_counts() {
		send 10.0.0.7 ffff0a1b2c3dffff 5
		send 10.0.0.8 ffff0a1b2c3deeee 5
		users_are 'length == 1 and .[0].user == "0a1b2c3d" and .[0].kind == "payload" and
			.[0].passed_packets == '"$(service received_packets)"
	}
	within 60 payload_counts
	assert [ "$(service received_packets)" -ge 10 ]
}

@test "services and metrics tell class and capacity" {
	configure "class: critical" "capacity: 20k"
	start
	assert_equal "$(service class)" '"critical"'
	assert_equal "$(service capacity_packets_per_second)" 20000
	assert_equal "$(metric 'spillway_capacity_packets_per_second{service="dns"}')" 20000
	configure "limit: {packets_per_second: 1000}"
	"$SPILLWAY" reload
	assert_equal "$(service class)" '"normal"'
	assert_equal "$(service capacity_packets_per_second)" null
	assert_equal "$(metric 'spillway_capacity_packets_per_second{service="dns"}')" ""
}

@test "set overrides capacity and class as well, each for itself, until it lapses" {
	configure "class: critical"
	start
	run -0 "$SPILLWAY" set dns capacity=10k class=sheddable
	assert_equal "$(service capacity_packets_per_second)" 10000
	assert_equal "$(service class)" '"sheddable"'
	run -0 "$SPILLWAY" set dns capacity=5 mode=observe --for 1h
	assert_equal "$(service class)" '"sheddable"'
	send 10.0.0.7 00 100
	within 60 arrived 100
	assert [ "$(service shadow_packets)" -gt 50 ]
	run -0 "$SPILLWAY" set dns capacity=6 --for 1s
	within 60 is null service capacity_packets_per_second
	# Each until its own time: what was set for longer, or for good, stays.
	assert_equal "$(service mode)" '"observe"'
	assert_equal "$(service class)" '"sheddable"'
	run -1 "$SPILLWAY" set dns class=vital
	assert_output --partial "'sheddable', 'normal' or 'critical'"
	run -1 "$SPILLWAY" set dns capacity=0.5
	assert_output --partial "from 1 to 100M"
	run -2 "$SPILLWAY" set dns capacity=many
}

# from PREFIX USERS COUNT: packets from so many addresses, at a pace that loses none on the way.
from() {
	nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --sources "$1" --users "$2" --distribution sequence --count "$3" \
		--rate 20000 >/dev/null
}

# The number of users that are sources.
sources() {
	"$SPILLWAY" users --service dns --limit 100 --json | jq '[.[] | select(.kind == "source")] | length'
}

# named METRIC: whether there is one.
named() {
	[ -n "$(metric "$1")" ]
}

# arrived N: whether all have arrived.
arrived() {
	is "$1" service received_packets
}

@test "a tenant from fifty addresses is held to one limit, fifty addresses without a tenant have each their own" {
	config | sed '/^services:/,$d' >"$CONFIG"
	printf '%s\n' 10.1.0.0/16 '# and' '2001:db8::/32' >"$DIR/acme.txt"
	cat >>"$CONFIG" <<-END
		tenants:
		  - {name: acme, prefixes_file: acme.txt, weight: 4}
		  - {name: small, prefixes: [10.2.0.0/24], weight: 0.5}
		services:
		  - {name: dns, protocol: udp, ports: [53], user: {kind: tenant}, limit: {packets_per_second: 10, burst: 100}}
	END
	run -0 "$SPILLWAY" check "$CONFIG"
	assert_output --partial "2 tenants"
	start
	# 99 packets of burst at ten a second are 9.9 s: of acme 396, and one; and then 40 a second.
	local began=$SECONDS
	from 10.1.0.0/24 50 2500
	within 60 arrived 2500
	assert [ "$(service passed_packets)" -ge 397 ]
	assert [ "$(service passed_packets)" -le $((397 + 40 * (SECONDS - began + 1))) ]
	acme_alone() {
		from 10.1.0.0/24 50 50
		users_are 'length == 1 and .[0].user == "acme" and .[0].kind == "tenant" and .[0].limit_packets_per_second == 40 and
			.[0].passed_packets == '"$(service passed_packets)"
	}
	within 60 acme_alone
	# Without a tenant, each of fifty has fifty packets.
	local before arrived
	before=$(service passed_packets) arrived=$(service received_packets)
	from 10.3.0.0/24 50 2500
	within 60 arrived $((arrived + 2500))
	assert_equal "$(($(service passed_packets) - before))" 2500
	fifty() { from 10.3.0.0/24 50 100 && is 50 sources; }
	within 60 fifty
	small() { from 10.2.0.0/24 50 10 && is 5 user small limit_packets_per_second; }
	within 60 small
	big() { from 10.1.0.0/24 50 10 && sleep 1 && named "$1"; }
	within 60 big 'spillway_user_packets_per_second{service="dns",user="acme"}'
}

@test "tenants change with a reload, whole or not at all, and a tenant keeps what it has used" {
	config | sed '/^services:/,$d' >"$CONFIG.head"
	cat >"$CONFIG.tail" <<-END
		services:
		  - {name: dns, protocol: udp, ports: [53], user: {kind: tenant}, limit: {packets_per_second: 0.1, burst: 90}}
	END
	echo 'tenants: [{name: acme, prefixes: [10.1.0.0/16]}]' | cat "$CONFIG.head" - "$CONFIG.tail" >"$CONFIG"
	start
	local passed began=$SECONDS
	from 10.1.0.0/24 50 200
	within 60 arrived 200
	passed=$(service passed_packets)
	assert [ "$passed" -ge 90 ]
	assert [ "$passed" -le $((91 + (SECONDS - began + 1) / 10)) ]
	seq 100 | sed 's|.*|10.0.&.0/24|; 77s|/24|/33|' >"$DIR/list"
	echo 'tenants: [{name: acme, prefixes_file: list}]' | cat "$CONFIG.head" - "$CONFIG.tail" >"$CONFIG"
	run -1 "$SPILLWAY" reload
	assert_output --partial "list:77: '10.0.77.0/33'"
	sed -i 's|/33|/24|' "$DIR/list"
	run -0 "$SPILLWAY" reload
	from 10.0.5.0/24 50 100
	within 60 arrived 300
	assert [ "$(($(service passed_packets) - passed))" -le 5 ]
	from 10.1.0.0/24 50 100
	within 60 arrived 400
	assert [ "$(($(service passed_packets) - passed))" -ge 100 ]
}
