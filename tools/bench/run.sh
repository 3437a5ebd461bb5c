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
python3 "$here/bench.py" "$@"
"$O/spillway-costs"
"$O/spillway-scaling"
