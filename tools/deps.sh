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

# find_missing PACKAGE...: those that are not installed.
find_missing() {
	for package in "$@"; do
		status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
		[ "$status" = installed ] || printf ' %s' "$package"
	done
}

missing=$(find_missing "$@")
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

# shellcheck disable=SC2086 # a list of names
install_missing() {
	apt-get install -y -qq --no-install-recommends "$@" $missing
}

# One line that moves on, from apt's machine-readable progress: STATE:PACKAGE:PERCENT:DESCRIPTION.
show_progress() {
	while IFS=: read -r state _ percent what; do
		case $state in dlstatus) step=fetched ;; *) step=installed ;; esac
		printf '\r\033[Kdeps: %3d %% %s: %.60s' "${percent%.*}" "$step" "$what"
	done
	printf '\r\033[K'
}

apt-get update -qq
if [ -t 1 ]; then
	install_missing -o APT::Status-Fd=3 3>&1 >/dev/null | show_progress
else
	install_missing >/dev/null
fi
# Also since a pipe hides how apt ended.
missing=$(find_missing "$@")
[ -z "$missing" ] || {
	echo "deps: could not be installed:$missing" >&2
	exit 1
}
