#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The guides are run: every command in a ```console block, page by page, on a host whose eth0 is a wire of ours and whose /etc
# is a copy. What needs a service manager is in ```text blocks, and is run by the package's tests. And nothing that the
# program can say is missing in them.

load common

setup_file() {
	name_places
	export NS="swd-$$" DOCS="$BATS_TEST_DIRNAME/../../docs" REPO="$BATS_TEST_DIRNAME/../.."
	ip netns add "$NS"
	ip -n "$NS" link add eth0 address 02:00:00:00:00:01 type veth peer name attack address 02:00:00:00:00:02
	ip -n "$NS" link set lo up
	ip -n "$NS" link set eth0 up
	ip -n "$NS" link set attack up
}

teardown_file() {
	"$SPILLWAY" unload || true
	ip netns del "$NS"
}

setup() {
	load_assertions
	cd "$REPO" || return
}

# blocks KIND FILE...: the lines of their blocks of that kind, without the indentation of the fence.
blocks() {
	local kind=$1
	shift
	awk -v kind="$kind" '
		/^ *```/ {indent = index($0, "`"); inside = !inside && substr($0, indent + 3) == kind; next}
		inside {print substr($0, indent)}' "$@"
}

# What runs on the host that the page is about: its own network and /etc, a daemon that observes, somebody who asks, and then the
# page's commands.
host_script() {
	cat <<-'END'
		set -eu
		mkdir "$DIR/etc" "$DIR/work" 2>/dev/null || true
		mount -t overlay overlay -o "lowerdir=/etc,upperdir=$DIR/etc,workdir=$DIR/work" /etc
		mkdir -p /etc/spillway
		cp tools/package/spillway.yaml /etc/spillway/spillway.yaml
		printf 'table: {users: 10000}\nhistory: null\n' >>/etc/spillway/spillway.yaml
		export PATH=$DIR/bin:$PATH
		mkdir -p "$DIR/bin"
		ln -sf "$SPILLWAY" "$DIR/bin/spillway"
		spillway run --config /etc/spillway/spillway.yaml --interface eth0 2>"$DIR/log" &
		daemon=$!
		trap 'kill $daemon 2>/dev/null || true; wait $daemon || true; spillway unload' EXIT
		for _ in $(seq 600); do spillway status >/dev/null 2>&1 && break; sleep 0.1; done
		"$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 --destination 192.0.2.1 --port 80 \
			--protocol tcp-syn --sources 198.51.100.0/28 --users 8 --rate 20000 --count 2000 >/dev/null
		for _ in $(seq 600); do spillway users --json | jq -e 'length > 0' >/dev/null && break; sleep 0.1; done
		while IFS= read -r command; do
			echo "+ $command"
			status=0 within=60
			case $command in *"spillway watch "*) within=0.5 ;; esac
			timeout $within bash -c "set -o pipefail; $command" </dev/null || status=$?
			case $command in *"spillway watch "*) [ $status -ne 124 ] || status=0 ;; esac
			[ $status -eq 0 ] || { echo "ended with $status: $command" >&2; exit 1; }
		done <"$DIR/commands"
	END
}

@test "every command in the guides does what it is there for" {
	local page
	host_script >"$DIR/host.sh"
	for page in docs/*.md; do
		blocks console "$page" | sed -nE 's/^[#$] //p' >"$DIR/commands"
		assert_equal "$(wc -l <"$DIR/commands")" "$(blocks console "$page" | grep -c .)"
		[ -s "$DIR/commands" ] || continue
		run nsenter --net="/run/netns/$NS" unshare --mount bash "$DIR/host.sh"
		[ "$status" -eq 0 ] || { echo "$page:" "$output" | tail -n 20 >&2; return 1; }
	done
}

@test "what the guides tell a service manager to do is run by the package's tests" {
	local command
	while IFS= read -r command; do
		case $command in
		"apt install"*) command="dpkg -i" ;; # in a root without a network
		esac
		grep -qF "$command" tests/package/package.bats || { echo "no test runs: $command" >&2; return 1; }
	done < <(blocks text docs/*.md | sed -nE 's/^[#$] //p')
}

@test "every configuration in the guides passes the check" {
	local page found=0
	for page in docs/*.md; do
		blocks yaml "$page" >"$BATS_TEST_TMPDIR/it.yaml"
		[ -s "$BATS_TEST_TMPDIR/it.yaml" ] || continue
		run -0 "$SPILLWAY" check "$BATS_TEST_TMPDIR/it.yaml"
		found=$((found + 1))
	done
	assert [ "$found" -gt 0 ]
}

# assert_told PAGE WORDS...
assert_told() {
	local page=$1 word
	shift
	assert [ $# -gt 3 ]
	for word; do
		grep -q "^| \`$word\`" "$page" || { echo "$page is silent about $word" >&2; return 1; }
	done
}

@test "every metric, reason and event has its line" {
	# shellcheck disable=SC2046 # lists of words
	assert_told docs/metrics.md $(grep -ohE '\{"spillway_[a-z_]+"' user/daemon/*.c | grep -oE 'spillway_[a-z_]+' | sort -u)
	# shellcheck disable=SC2046
	assert_told docs/metrics.md $(sed -nE 's/^\t\[REASON_.*\] = "([a-z_]+)",/\1/p' user/daemon/names.h)
	# shellcheck disable=SC2046
	assert_told docs/events.md level capacity fault recovery lost \
		$(grep -rhoE 'events_tell\([^;]*' user --include=*.c | grep -oE '"(hotspot_[a-z]+|reload|override|interface|lists|fault|recovery)"' | tr -d '"' | sort -u)
	# What `watch` paints it knows.
	# shellcheck disable=SC2046
	assert_told docs/events.md $(grep -oE '\{"[a-z_]+", *"\\033' user/verbs/watch.c | cut -d'"' -f2)
}

@test "pages name pages that are there" {
	local link
	for link in $(grep -ohE '\]\([a-z-]+\.md\)' docs/*.md | tr -d '])('); do
		assert [ -e "docs/$link" ]
	done
}
