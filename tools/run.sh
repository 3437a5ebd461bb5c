#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# `make run`: Spillway at work. In a laboratory on this machine, well-behaved users ask a web and a DNS server while an
# attacker floods them: first without Spillway, then with it. On a terminal the live view stays until it is quit; else it runs SECONDS_TO_RUN and fails where the well-behaved kept less than 99 % of their requests.
#   IFACE=eth0 [ENFORCE=1]   runs on a real interface instead, observing unless told to enforce
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
: "${O:=$here/../build}" "${SECONDS_TO_RUN:=20}"
export O SECONDS_TO_RUN
export SPILLWAY_SOCKET=${SPILLWAY_SOCKET:-/run/spillway-run-$$/spillway.sock}
export SPILLWAY_PINS=${SPILLWAY_PINS:-/sys/fs/bpf/spillway-run-$$}
USERS=20
ATTACK_PPS=150000

if [ "$(id -u)" -ne 0 ]; then
	echo "run: not root: run 'sudo make run'" >&2
	exit 1
fi

daemon=

stop_daemon() {
	[ -n "$daemon" ] || return 0
	kill "$daemon" 2>/dev/null || true
	wait "$daemon" 2>/dev/null || true
	daemon=
	"$O/spillway" unload || true
	rm -rf "$(dirname "$SPILLWAY_SOCKET")"
}

# The daemon runs where the interface is: in namespace $1, or here where that is empty.
start_daemon() {
	local place=$1
	shift
	if [ -n "$place" ]; then
		nsenter --net="/run/netns/$place" "$O/spillway" run "$@" &
	else
		"$O/spillway" run "$@" &
	fi
	daemon=$!
	for _ in $(seq 100); do
		"$O/spillway" status >/dev/null 2>&1 && return
		kill -0 "$daemon" 2>/dev/null || { daemon=; return 1; }
		sleep 0.1
	done
	return 1
}

config() {
	cat <<-END
		interfaces: [$1]
		mode: $2
		history: null
		services:
		  - name: web
		    protocol: tcp
		    ports: [80]
		    limit: {packets_per_second: 500, burst: 500}
		  - name: dns
		    protocol: udp
		    ports: [53]
		    limit: {packets_per_second: 200, burst: 200}
	END
}

on_interface() {
	local mode=observe
	[ "${ENFORCE:-}" = 1 ] && mode=enforce
	file=$(mktemp)
	trap 'stop_daemon; rm -f "$file"' EXIT
	config "$IFACE" "$mode" >"$file"
	start_daemon "" --config "$file"
	if [ -t 1 ]; then
		"$O/spillway" top
	else
		sleep "$SECONDS_TO_RUN"
		"$O/spillway" status
	fi
}

# A query for the address of www.lab.test (RFC 1035 section 4.1), so that the server has work with each.
QUERY=534c01000001000000000000$(printf '\003www\003lab\004test\000' | od -An -v -tx1 | tr -d ' \n')00010001

flood() {
	nsenter --net="/run/netns/$LAB_ATTACKER" "$O/spillway-traffic" --interface attack0 \
		--destination-mac "$LAB_EDGE_MAC" --destination "$LAB_EDGE_IPV4" --port 53 --protocol udp --payload "$QUERY" \
		--sources 10.99.200.0/28 --users 8 --rate "$ATTACK_PPS" --seconds "$1" --json
}

clients() {
	nsenter --net="/run/netns/$LAB_USERS" "$O/spillway-client" --users "$USERS" --server "$LAB_EDGE_IPV4" \
		--http 5 --dns 10 --seconds "$1" --json
}

# Clients and flood at once for $1 seconds; leaves $2.clients and $2.flood.
round() {
	flood $(($1 + 1)) >"$2.flood" &
	local attack=$!
	sleep 0.5
	clients "$1" >"$2.clients"
	wait "$attack"
}

report() {
	jq -rn --arg title "$1" --slurpfile c "$2.clients" --slurpfile f "$2.flood" \
		'"\($title): well-behaved sent \($c[0].total.sent), answered \($c[0].total.answered) (\(10000 * $c[0].total.answered / $c[0].total.sent | round / 100) %), p50 \($c[0].total.p50_ms) ms, p99 \($c[0].total.p99_ms) ms; attacker sent \($f[0].sent) packets"'
}

in_laboratory() {
	local seconds=$((SECONDS_TO_RUN / 2))
	dir=$(mktemp -d)
	trap 'stop_daemon; rm -rf "$dir"' EXIT
	config edge0 enforce >"$dir/spillway.yaml"
	if [ -t 1 ]; then
		start_daemon "$LAB_EDGE" --config "$dir/spillway.yaml"
		(for _ in $(seq 60); do round 10 "$dir/live" || exit; done) >/dev/null 2>&1 &
		traffic=$!
		"$O/spillway" top
		kill "$traffic" 2>/dev/null || true
		return
	fi
	echo "run: $USERS well-behaved users and a flood of $ATTACK_PPS packets/s, $seconds s without and $seconds s with Spillway"
	round "$seconds" "$dir/without"
	start_daemon "$LAB_EDGE" --config "$dir/spillway.yaml"
	round "$seconds" "$dir/with"
	sleep 2
	"$O/spillway" services
	report "without Spillway" "$dir/without"
	report "with Spillway   " "$dir/with"
	jq -e '.total.answered >= 0.99 * .total.sent' "$dir/with.clients" >/dev/null ||
		{ echo "run: the well-behaved kept less than 99 % of their requests" >&2; return 1; }
}

if [ -n "${IFACE:-}" ]; then
	on_interface
elif [ "${1:-}" = --inside ]; then
	in_laboratory
else
	exec "$here/lab.sh" run --name "run$$" --users "$USERS" -- "$0" --inside
fi
