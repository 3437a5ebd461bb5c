#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# `make bench-heaviest`: who is heaviest of a million users, and how exactly that is known, while a flood from forged
# sources that never repeat comes over a veth pair as fast as one processor makes it. tests/packet/heaviest_test.c says
# what is compared. HEAVIEST_RATE: packets a second of the users; HEAVIEST_SECONDS: how long.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
: "${O:=$here/../../build}" "${HEAVIEST_RATE:=200000}" "${HEAVIEST_SECONDS:=12}"
if [ "$(id -u)" -ne 0 ]; then
	echo "bench: not root: run 'sudo make bench-heaviest'" >&2
	exit 1
fi
edge=swh-$$-edge attacker=swh-$$-attacker flood=

remove() {
	[ -z "$flood" ] || kill -- "-$flood" 2>/dev/null || true # the loop, and who sends in it
	ip netns del "$edge" 2>/dev/null || true
	ip netns del "$attacker" 2>/dev/null || true
}
trap remove EXIT

ip netns add "$edge"
ip netns add "$attacker"
ip -n "$edge" link add edge address 02:00:00:00:00:01 type veth peer name attack address 02:00:00:00:00:02 netns "$attacker"
for place in "$edge edge" "$attacker attack"; do
	ip netns exec "${place% *}" sysctl -qw "net.ipv6.conf.${place#* }.disable_ipv6=1"
	ip -n "${place% *}" link set "${place#* }" up
done
export HEAVIEST_RATE HEAVIEST_SECONDS HEAVIEST_USERS=1000000 HEAVIEST_INTERFACE=edge

set -m # a process group of its own for what runs beside
# Frames are taken once the program is attached: until then the generator fails, and tries again.
(
	while ! ip netns exec "$attacker" "$O/spillway-traffic" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --port 53 --sources 128.0.0.0/1 --distribution unique --seconds 3600 >/dev/null 2>&1; do
		sleep 0.1
	done
) &
flood=$!
set +m
nsenter --net="/run/netns/$edge" "$O/tests/packet/heaviest_test"
