#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# `make bench`: the table on the terminal, the figures in $O/bench.json. Arguments go on to bench.py.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
: "${O:=$here/../../build}"
export O
if [ "$(id -u)" -ne 0 ]; then
	echo "bench: not root: run 'sudo make bench'" >&2
	exit 1
fi
# What is ended early cannot take its pins with it.
child=
end() {
	[ -n "$child" ] || return 0
	kill "$child" 2>/dev/null || true
	wait "$child" || true
	rm -rf "/sys/fs/bpf/spillway-test-$child"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Not in the foreground, since a trap waits for what is there.
in_turn() {
	"$@" &
	child=$!
	wait "$child"
	child=
}
in_turn python3 "$here/bench.py" "$@"
in_turn "$O/spillway-scaling"
