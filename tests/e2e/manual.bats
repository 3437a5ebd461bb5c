#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# What the program says of itself, its manual pages and its completions say the same, for every verb that there is.

load common

setup() {
	name_places
	load_assertions
	cd "$BATS_TEST_DIRNAME/../.." || return
	MAN=tools/package/man
	export PATH="$O:$PATH"
}

verbs() {
	"$SPILLWAY" --help | awk '/^  / {print $1}'
}

# help_options VERB: those that its help names, and --help itself.
help_options() {
	{ "$SPILLWAY" "$1" --help; echo --help; } | grep -oE -- '--[a-z][a-z-]*' | sort -u
}

# assert_same WHAT EXPECTED ACTUAL
assert_same() {
	diff <(echo "$2") <(echo "$3") || { echo "$1: what the help says (<) is not what is there (>)" >&2; return 1; }
}

@test "every verb has a page with the options of its help, and is in spillway(8)" {
	local verb
	assert [ "$(verbs | wc -l)" -ge 12 ]
	for verb in $(verbs); do
		assert [ -e "$MAN/spillway-$verb.8" ]
		assert_same "spillway-$verb(8)" "$(help_options "$verb")" \
			"$(sed -nE 's/^\.It Fl Fl ([a-z-]+).*/--\1/p' "$MAN/spillway-$verb.8" | sort -u)"
		grep -qx ".It Cm $verb" $MAN/spillway.8 || { echo "spillway(8) is silent about $verb" >&2; return 1; }
	done
	assert_equal "$(find $MAN -name 'spillway-*.8' | wc -l)" "$(verbs | wc -l)"
}

@test "spillway.yaml(5) has every key of the configuration" {
	local key
	for key in $(grep -ohE '\{"[a-z_0-9]+", (read_[a-z0-9_]+|NULL), (true|false)\}' user/config/*.c | cut -d'"' -f2 | sort -u); do
		grep -qE "^\.(It )?Cm .*\b$key\b" $MAN/spillway.yaml.5 ||
			{ echo "spillway.yaml(5) is silent about $key" >&2; return 1; }
	done
}

@test "manual pages are clean to mandoc and to man" {
	local page
	run -0 mandoc -T lint -W warning $MAN/*.[58]
	assert_output ""
	for page in "$MAN"/*.[58]; do
		run -0 env LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l -Tutf8 -Z "$page"
		refute_output --partial "warning"
	done
}

# What bash offers after the words given: the last one is being typed.
bash_offers() {
	bash --norc -c '
		. /usr/share/bash-completion/bash_completion
		. tools/package/completions/spillway.bash
		COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE}
		_spillway
		printf "%s\n" "${COMPREPLY[@]}"' - "$@"
}

# What fish offers for a line.
fish_offers() {
	HOME=$BATS_TEST_TMPDIR fish --no-config -c '
		source tools/package/completions/spillway.fish
		complete -C "$argv[1]"' "$1" | cut -f1
}

@test "bash completes every verb and every option" {
	local verb
	assert_same verbs "$(verbs | sort)" "$(bash_offers spillway "" | grep -v '^-' | sort)"
	for verb in $(verbs); do
		assert_same "$verb" "$(help_options "$verb")" "$(bash_offers spillway "$verb" -- | sort -u)"
	done
	assert_same values "$(printf 'mode=enforce\nmode=observe')" "$(bash_offers spillway set dns mode | sort)"
}

@test "fish completes every verb and every option" {
	local verb
	assert_same verbs "$(verbs | sort)" "$(fish_offers "spillway " | grep -v '^-' | sort)"
	for verb in $(verbs); do
		assert_same "$verb" "$(help_options "$verb")" "$(fish_offers "spillway $verb --" | sort -u)"
	done
}

@test "zsh completes every verb and every option" {
	# A terminal of its own, where a tab is typed after each line.
	verbs >"$BATS_TEST_TMPDIR/verbs"
	for verb in $(verbs); do
		help_options "$verb" >"$BATS_TEST_TMPDIR/$verb.options"
	done
	run -0 python3 tests/e2e/zsh_completion.py "$BATS_TEST_TMPDIR"
}

@test "the configuration that is installed, and the examples, pass the check" {
	local file
	for file in tools/package/spillway.yaml tools/package/examples/*.yaml; do
		run -0 "$SPILLWAY" check "$file"
	done
	# As it is installed it names no interface, and says what to do.
	run -4 "$SPILLWAY" run --config tools/package/spillway.yaml --pins /sys/fs/bpf/spillway-none --socket "$DIR/none.sock"
	assert_output --partial "no interface: name one with --interface, or under 'interfaces:'"
}

@test "the unit is sound" {
	sed "s|@sbindir@|$O|; s|@sysconfdir@|/etc|" tools/package/spillway.service.in >"$BATS_TEST_TMPDIR/spillway.service"
	run -0 systemd-analyze verify --man=no "$BATS_TEST_TMPDIR/spillway.service"
	assert_output ""
	run -0 systemd-analyze security --offline=true --threshold=25 "$BATS_TEST_TMPDIR/spillway.service"
}

@test "what building needs, the package is built with" {
	local package
	for package in $(sed -n '/^BUILD_PACKAGES/,/[^\\]$/p' mk/deps.mk | tr -d '\\\n' | sed 's/.*:=//'); do
		case $package in
		make | gcc | llvm-19) continue ;; # build-essential has two, and clang brings the third
		libpcap-dev) continue ;; # of the traffic generator, which is not installed
		esac
		grep -qE "[ ,]$package\b" tools/package/debian/control ||
			{ echo "debian/control does not build with $package" >&2; return 1; }
	done
}
