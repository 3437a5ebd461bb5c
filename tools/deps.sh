#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# Installs the Debian packages named as arguments; with --if-missing only those that are not there yet, and silently
# nothing where all are. On a distribution that is not Debian it says what it would have installed.
set -eu

only_missing=false
if [ "${1:-}" = --if-missing ]; then
	only_missing=true
	shift
fi

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
	$only_missing && exit 0
	echo "deps: no apt-get here: install what your distribution calls: $*" >&2
	exit 1
fi

missing=
for package in "$@"; do
	status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
	[ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "deps: not root: run 'sudo make deps', it will install:$missing" >&2
	exit 1
fi
echo "deps: installing:$missing"
export DEBIAN_FRONTEND=noninteractive
# Servers that the laboratory starts itself must not be started as services of this machine by their packages.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	printf '#!/bin/sh\nexit 101\n' >"$policy"
	chmod +x "$policy"
fi
apt-get update -qq
# shellcheck disable=SC2086 # a list of names
apt-get install -y -qq --no-install-recommends $missing >/dev/null
