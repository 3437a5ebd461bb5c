#!/usr/bin/env bash
# SPDX-License-Identifier: GPL-2.0-only
# `make bench-overload`: what well-behaved users feel under overload of several kinds, with nothing, with nftables set by
# hand and with Spillway. Table on the terminal, figures in $O/overload.json, plot in $O/overload.svg. Arguments go on to
# overload.py.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
: "${O:=$here/../../build}"
export O
if [ "$(id -u)" -ne 0 ]; then
	echo "bench-overload: not root: run 'sudo make bench-overload'" >&2
	exit 1
fi
if [ ! -x "$O/spillway-backend" ] || [ ! -x "$O/spillway" ]; then
	echo "bench-overload: no programs in $O: run 'make all overload-tools', or set O to where they were built" >&2
	exit 1
fi
exec "$here/../lab.sh" run --name "overload$$" --users 200 -- python3 "$here/overload.py" "$@"
