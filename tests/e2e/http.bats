#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# What the daemon says over HTTP: metrics in both formats, health, the API; and what it refuses there. In a namespace of
# its own, so that any port is free.

bats_require_minimum_version 1.5.0

load common

setup_file() {
	export PATH="$PATH:/usr/sbin"
	export NS="swh-$$" PLACE="swh-$$" DIR="$BATS_FILE_TMPDIR" SPILLWAY="$O/spillway"
	export SPILLWAY_SOCKET="$DIR/spillway.sock" SPILLWAY_PINS="/sys/fs/bpf/spillway-http-$$"
	# A name that Linux allows, and that a label must escape.
	export IFACE='h"t\p0'
	ip netns add "$NS"
	ip -n "$NS" link set lo up
	interface_up
}

teardown_file() {
	"$SPILLWAY" unload || true
	ip netns del "$NS" || true
}

setup() {
	bats_load_library bats-support
	bats_load_library bats-assert
	# A simple command, so that its process has the id that the shell knows, also in the background.
	flood=(nsenter --net="/run/netns/$NS" "$O/spillway-traffic" --interface attack --destination-mac 02:00:00:00:00:01
		--destination 192.0.2.1 --size 64 --json)
}

teardown() {
	[ -z "${flooding:-}" ] || kill "$flooding"
	stop
}

interface_up() {
	ip -n "$NS" link add "$IFACE" type veth peer name attack
	inside sysctl -qw net.ipv6.conf.attack.disable_ipv6=1
	inside sysctl -qw "net.ipv6.conf.$IFACE.disable_ipv6=1"
	ip -n "$NS" link set "$IFACE" address 02:00:00:00:00:01 up
	ip -n "$NS" link set attack up
}

inside() {
	nsenter --net="/run/netns/$NS" "$@"
}

# config LISTEN [LINE...]
config() {
	local listen=$1
	shift
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [${INTERFACES:-"'$IFACE'"}]
		mode: enforce
		listen: $listen
		history: null
		${TABLE-"table: {users: 10000}"}
		services:
		  - {name: web, protocol: tcp, ports: [80], mode: observe, limit: {packets_per_second: 100, burst: 10}}
		  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 100, burst: 10}}
	END
	printf '%s\n' "$@" >>"$DIR/spillway.yaml"
}

# get PATH [CURL OPTION...]
get() {
	local path=$1
	shift
	inside curl -sS --max-time 60 "$@" "http://127.0.0.1:9469$path"
}

# The status code of the same.
code() {
	get "$@" -o /dev/null -w '%{http_code}'
}

listening() {
	inside ss -Hltn | awk '{print $4}' | sort | xargs
}

@test "metrics: Prometheus finds no fault, and names, types and labels are the contract's" {
	config 127.0.0.1:9469
	start
	"${flood[@]}" --port 53 --protocol udp --sources 10.0.0.1/32 --users 1 --rate 1000 --seconds 600 >/dev/null 3>&- &
	flooding=$!
	names_the_user() { get /metrics >"$DIR/metrics" && grep -q '^spillway_user_packets_per_second{' "$DIR/metrics"; }
	until_true 60 names_the_user
	run -0 promtool check metrics <"$DIR/metrics"
	assert_output ""
	run grep '^# TYPE' "$DIR/metrics"
	assert_line "# TYPE spillway_packets_total counter"
	assert_line "# TYPE spillway_bytes_total counter"
	assert_line "# TYPE spillway_level_packets_per_second gauge"
	assert_line "# TYPE spillway_active_users gauge"
	assert_line "# TYPE spillway_user_packets_per_second gauge"
	assert_line "# TYPE spillway_interface_attached gauge"
	assert_line "# TYPE spillway_build_info gauge"
	run sed -E 's/ [0-9.e+]+$//' "$DIR/metrics"
	assert_line 'spillway_packets_total{service="dns",verdict="passed",reason=""}'
	for reason in user_limit user_bytes user_connections capacity denied malformed drill not_owner; do
		assert_line "spillway_packets_total{service=\"dns\",verdict=\"spilled\",reason=\"$reason\"}"
		assert_line "spillway_bytes_total{service=\"other\",verdict=\"shadow\",reason=\"$reason\"}"
	done
	assert_line 'spillway_active_users{service="web"}'
	run cat "$DIR/metrics"
	assert_line 'spillway_level_packets_per_second{service="dns"} 100'
	assert_line 'spillway_interface_attached{interface="h\"t\\p0",mode="native"} 1'
	assert_line "spillway_build_info{version=\"$("$SPILLWAY" version | cut -d' ' -f2)\",kernel=\"$(uname -r)\"} 1"
	assert_line --regexp '^spillway_user_packets_per_second\{service="dns",user="10\.0\.0\.1"\} [0-9.e+]+$'
}

@test "metrics: counters are those of 'spillway services'" {
	config 127.0.0.1:9469
	start
	received() { "$SPILLWAY" services --json | jq 'map(.received_packets) | add'; }
	arrived() { [ "$(received)" -ge "$1" ]; }
	local before
	before=$(received)
	"${flood[@]}" --port 53 --protocol udp --sources 10.0.0.1/32 --users 1 --rate 1000 --seconds 1
	"${flood[@]}" --port 80 --protocol tcp-syn --sources 10.0.0.2/32 --users 1 --rate 1000 --seconds 1
	until_true 60 arrived $((before + 2000))
	"$SPILLWAY" services --json >"$DIR/services"
	assert [ "$(jq '.[] | select(.name == "dns") | .spilled_packets' "$DIR/services")" -gt 500 ]
	assert [ "$(jq '.[] | select(.name == "web") | .shadow_packets' "$DIR/services")" -gt 500 ]
	jq -r '.[] | .name as $s | ["packets", "bytes"][] as $u | ["passed", "spilled", "shadow"][] as $v
		| "\($s) \($u) \($v) \(.[$v + "_" + $u])"' "$DIR/services" | sort >"$DIR/wanted"
	get /metrics | sed -nE \
		's/^spillway_(packets|bytes)_total\{service="([^"]*)",verdict="([^"]*)",reason="[^"]*"\} /\2 \1 \3 /p' |
		awk '{n[$1 " " $2 " " $3] += $4} END {for (i in n) print i, n[i]}' | sort >"$DIR/found"
	run diff "$DIR/wanted" "$DIR/found"
	assert_success
	assert [ "$(wc -l <"$DIR/found")" -eq 18 ]
}

@test "metrics: OpenMetrics to who asks for it" {
	config 127.0.0.1:9469
	start
	run -0 get /metrics -o /dev/null -w '%{content_type}'
	assert_output "text/plain; version=0.0.4; charset=utf-8"
	run -0 get /metrics -H 'Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5' \
		-o "$DIR/metrics" -w '%{content_type}'
	assert_output "application/openmetrics-text; version=1.0.0; charset=utf-8"
	assert_equal "$(tail -n 1 "$DIR/metrics")" "# EOF"
	run cat "$DIR/metrics"
	assert_line "# TYPE spillway_packets counter"
	refute_line "# TYPE spillway_packets_total counter"
	assert_line 'spillway_packets_total{service="dns",verdict="spilled",reason="drill"} 0'
}

@test "the API's JSON has every key of the contract, with its type, over TCP as from the verbs" {
	config 127.0.0.1:9469
	start
	"${flood[@]}" --port 53 --protocol udp --sources 10.0.0.0/24 --users 5 --rate 1000 --seconds 600 >/dev/null 3>&- &
	flooding=$!
	all_named() { get /api/v1/users >"$DIR/users" && [ "$(jq length "$DIR/users")" -eq 5 ]; }
	until_true 60 all_named
	get /api/v1/status >"$DIR/status"
	get /api/v1/services >"$DIR/services"
	cat >"$DIR/shape.jq" <<-'END'
		def is($t): type as $is | $t | split("|") | index($is) != null;
		def count: type == "number" and . == floor and . >= 0;
		def time: type == "string" and test("^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]+)?Z$");
		def has_all($keys): . as $o | $keys | all(. as $k | $o | has($k));
		def service:
			has_all(["name", "class", "mode", "received_packets", "passed_packets", "spilled_packets",
				"shadow_packets", "received_bytes", "passed_bytes", "spilled_bytes", "shadow_bytes",
				"spilled_by_reason", "packets_per_second", "level_packets_per_second",
				"capacity_packets_per_second", "active_users", "response_milliseconds"])
			and (.name | is("string")) and (.class | IN("critical", "normal", "sheddable"))
			and (.mode | IN("observe", "enforce"))
			and ([.received_packets, .passed_packets, .spilled_packets, .shadow_packets, .received_bytes,
				.passed_bytes, .spilled_bytes, .shadow_bytes, .active_users] | all(count))
			and (.spilled_by_reason | keys == (["user_limit", "user_bytes", "user_connections", "capacity",
				"denied", "malformed", "drill", "not_owner"] | sort) and all(count))
			and (.spilled_packets == ([.spilled_by_reason[]] | add))
			and (.received_packets == .passed_packets + .spilled_packets)
			and (.packets_per_second | is("number"))
			and (.level_packets_per_second | is("number|null"))
			and (.capacity_packets_per_second | is("number|null"))
			and (.response_milliseconds | has_all(["p50", "p99"]) and all(is("number|null")));
		def user:
			has_all(["service", "user", "kind", "packets_per_second", "bytes_per_second", "passed_packets",
				"spilled_packets", "limit_packets_per_second", "tenured"])
			and ([.service, .user] | all(is("string")))
			and (.kind | IN("source", "tenant", "payload", "tag"))
			and ([.packets_per_second, .bytes_per_second] | all(is("number")))
			and ([.passed_packets, .spilled_packets] | all(count))
			and (.limit_packets_per_second | is("number|null")) and (.tenured | is("boolean|null"));
		def status:
			has_all(["version", "kernel", "mode", "uptime_seconds", "interfaces", "features", "table",
				"controller", "services"])
			and ([.version, .kernel] | all(is("string"))) and (.mode | IN("observe", "enforce"))
			and (.uptime_seconds | is("number"))
			and (.interfaces | length > 0 and all(has_all(["name", "index", "mode", "attached", "since"])
				and (.name | is("string")) and (.index | count) and (.mode | IN("native", "generic"))
				and .attached == true and (.since | time)))
			and (.features | length > 0 and all(has_all(["name", "on", "why"]) and (.name | is("string"))
				and (.on | is("boolean")) and (.why | is("string|null"))))
			and (.table | has_all(["cells", "used", "overflowed", "bytes"]) and (.batches | is("boolean"))
				and (del(.batches) | all(count)))
			and (.controller | has_all(["alive", "tick_milliseconds"]) and (.alive | is("boolean"))
				and (.tick_milliseconds | is("number")))
			and (.services | length == 3 and all(service));
	END
	run -0 jq -e "$(cat "$DIR/shape.jq") status" "$DIR/status"
	run -0 jq -e "$(cat "$DIR/shape.jq") length == 3 and all(service)" "$DIR/services"
	run -0 jq -e "$(cat "$DIR/shape.jq") length == 5 and all(user)" "$DIR/users"
	for verb in status services users; do
		run -0 "$SPILLWAY" "$verb" --json
		# Which hot spots there are changes from one to the next.
		assert_equal "$(jq -c '[del(.hotspots?) | paths | map(select(type == "string"))] | unique' <<<"$output")" \
			"$(jq -c '[del(.hotspots?) | paths | map(select(type == "string"))] | unique' "$DIR/$verb")"
	done
}

@test "health and readiness; an interface that is gone is not ready" {
	config 127.0.0.1:9469
	start
	assert_equal "$(code /-/healthy)" 200
	assert_equal "$(code /-/ready)" 200
	ip -n "$NS" link del "$IFACE"
	not_ready() { [ "$(code /-/ready)" = 503 ]; }
	ready() { [ "$(code /-/ready)" = 200 ]; }
	until_true 60 not_ready
	assert_equal "$(code /-/healthy)" 200
	run -0 get /metrics
	assert_line 'spillway_interface_attached{interface="h\"t\\p0",mode="native"} 0'
	assert_equal "$(get /api/v1/status | jq -c '.interfaces[0] | [.attached, .index, .since]')" '[false,null,null]'
	interface_up
	until_true 60 ready
}

@test "TCP only reads" {
	config 127.0.0.1:9469
	start
	for path in /metrics /-/ready /api/v1/status /api/v1/services /api/v1/users; do
		assert_equal "$(code "$path" -d '{}')" 405
		assert_equal "$(code "$path" -H 'Host: localhost')" 200
		assert_equal "$(code "$path" -H 'Host: elsewhere.example')" 403
		assert_equal "$(code "$path" -H 'Host: 127.0.0.1.elsewhere.example:9469')" 403
	done
	run get /metrics -d '{}' -D - -o /dev/null
	assert_line --partial "Allow: GET, HEAD"
	for path in /api/v1/reload /api/v1/set /api/v1/stop; do
		assert_equal "$(code "$path" -d '{"service": "dns", "level": 5}')" 404
	done
	assert_equal "$(code /metrics -X DELETE)" 501
	assert_equal "$(code /nosuch)" 404
	# What is asked for is quoted in the refusal, though it be no text.
	assert_equal "$(code '/api/v1/users?service=%ff')" 404
	run -0 get '/api/v1/users?limit=%c3'
	assert_output --partial "limit=?: a whole number was expected"
	assert_equal "$(code '/api/v1/lists?limit=some')" 400
	assert_equal "$("$SPILLWAY" services --json | jq '.[] | select(.name == "dns") | .level_packets_per_second')" 100
	assert_equal "$(stat -c %a "$SPILLWAY_SOCKET")" 660
}

@test "events over TCP: a stream for who may read, and its place is free when the reader has gone" {
	config 127.0.0.1:9469
	start
	readers() { [ "$(get /metrics | awk '$1 == "spillway_event_readers" {print $2}')" = "$1" ]; }
	nsenter --net="/run/netns/$NS" curl -sSN --max-time 600 -D "$DIR/head" 'http://127.0.0.1:9469/api/v1/events?service=dns' >"$DIR/stream" 3>&- &
	flooding=$!
	until_true 60 readers 1
	"$SPILLWAY" set web level=50
	"$SPILLWAY" set dns level=50
	until_true 60 grep -q '^data: ' "$DIR/stream"
	assert_equal "$(sed -n 's/^data: //p' "$DIR/stream" | jq -c '[.event, .service]')" '["override","dns"]'
	grep -qi '^content-type: text/event-stream' "$DIR/head"
	grep -qi '^cache-control: no-store' "$DIR/head"
	kill "$flooding"
	flooding=
	until_true 60 readers 0
	assert_equal "$(code /api/v1/events -d '{}')" 405
	assert_equal "$(code /api/v1/events -H 'Host: elsewhere.example')" 403
	assert_equal "$(code /api/v1/events -I)" 200
	assert_equal "$(code '/api/v1/events?service=nosuch')" 404
	assert_equal "$(code '/api/v1/events?recent=all')" 400
}

@test "HEAD is GET without the body, and the connection is good for more" {
	config 127.0.0.1:9469
	start
	run -0 inside python3 - <<-'END'
		import http.client
		connection = http.client.HTTPConnection("127.0.0.1", 9469, timeout=60)
		for path in "/-/ready", "/metrics", "/nosuch", "/-/ready":
		    connection.request("HEAD", path)
		    answer = connection.getresponse()
		    assert answer.read() == b""
		    print(answer.status, answer.getheader("Content-Length"))
		connection.request("GET", "/-/ready")
		print(connection.getresponse().read())
	END
	assert_line --index 0 "200 6"
	assert_line --index 1 --regexp '^200 [0-9]{4,}$'
	assert_line --index 3 "200 6"
	assert_line --index 4 "b'ready\\n'"
}

@test "users: an unknown service and a limit that is no number are refused in words" {
	config 127.0.0.1:9469
	start
	assert_equal "$(code '/api/v1/users?service=nosuch')" 404
	assert_equal "$(code '/api/v1/users?limit=many')" 400
	assert_equal "$(code '/api/v1/users?limit=0')" 200
	for service in nosuch 'no such & more' ''; do
		run -1 "$SPILLWAY" users --service "$service"
		assert_output "spillway: service $service: there is none of that name: 'spillway services' lists them"
	done
	run -2 "$SPILLWAY" users --limit -1
	run -2 "$SPILLWAY" users --limit ''
	run -0 "$SPILLWAY" users --service dns
}

@test "listen: null opens no port, and an IPv6 address is an address" {
	config null
	start
	assert_equal "$(listening)" ""
	run -0 "$SPILLWAY" status
	stop
	config '"[::1]:9469"'
	start
	assert_equal "$(listening)" "[::1]:9469"
	run -0 inside curl -sS --max-time 60 "http://[::1]:9469/-/ready"
	assert_output ready
}

@test "reload: listen moves, whole or not at all" {
	config 127.0.0.1:9469
	start
	config 127.0.0.1:9470
	run -0 "$SPILLWAY" reload
	assert_equal "$(listening)" 127.0.0.1:9470
	config null
	run -0 "$SPILLWAY" reload
	assert_equal "$(listening)" ""
	config 127.0.0.1:9469
	run -0 "$SPILLWAY" reload
	assert_equal "$(code /-/ready)" 200

	config 127.0.0.1:9471
	sed -i 's/packets_per_second: 100,/packets_per_second: 200,/; s/interfaces: \[/&nosuch0, /' "$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	assert_output "spillway: interface nosuch0: not found: name one that 'ip link' shows"
	assert_equal "$(listening)" 127.0.0.1:9469

	inside python3 -m http.server 9472 --bind 127.0.0.1 >/dev/null 2>&1 3>&- &
	local other=$!
	taken() { [ "$(listening)" = "127.0.0.1:9469 127.0.0.1:9472" ]; }
	until_true 60 taken
	config 127.0.0.1:9472
	sed -i 's/packets_per_second: 100,/packets_per_second: 200,/' "$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	kill "$other"
	assert_output --partial "listen 127.0.0.1:9472: cannot listen: Address already in use"
	assert_equal "$(code /-/ready)" 200
	assert_equal "$("$SPILLWAY" services --json | jq '.[] | select(.name == "dns") | .level_packets_per_second')" 100
	config 0.0.0.0:9469
	run -1 "$SPILLWAY" reload
	assert_output --partial "in use by this daemon itself"
}

@test "reload: allow_generic counts at once, and status says what is off" {
	config null
	start
	run -0 "$SPILLWAY" status
	refute_output --partial "off: native_xdp"
	INTERFACES=lo config null
	run -1 "$SPILLWAY" reload
	assert_output --partial "interface lo: its driver has no native XDP"
	assert_equal "$("$SPILLWAY" status --json | jq -r '.interfaces[].name')" "$IFACE"
	INTERFACES=lo config null 'allow_generic: true'
	run -0 "$SPILLWAY" reload
	run -0 "$SPILLWAY" status
	assert_line --regexp '^off: native_xdp: the driver of lo has none'
	assert_equal "$("$SPILLWAY" status --json | jq -c '.features[] | select(.name == "native_xdp") | .on')" false
	INTERFACES=lo config null
	run -0 "$SPILLWAY" reload
	run cat "$DIR/log"
	assert_output --partial "warning: allow_generic: interface lo is attached in generic mode"
	config null
	run -0 "$SPILLWAY" reload
	run -0 "$SPILLWAY" status
	refute_output --partial "off: native_xdp"
}

@test "READY=1 is told to the service manager when the daemon answers, STOPPING=1 at the end" {
	config null
	python3 - "$DIR/notify" >"$DIR/told" 3>&- <<-'END' &
		import socket, sys
		told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		told.bind(sys.argv[1])
		told.settimeout(120)
		while True:
		    text = told.recv(4096).decode()
		    print(text, flush=True)
		    if "STOPPING=1" in text:
		        break
	END
	local manager=$!
	until_true 60 test -S "$DIR/notify"
	NOTIFY_SOCKET="$DIR/notify" start
	until_true 60 grep -qx READY=1 "$DIR/told"
	stop
	wait "$manager"
	assert_equal "$(grep -vx WATCHDOG=1 "$DIR/told" | xargs)" "READY=1 STOPPING=1"
}

@test "idle: a hundredth of a core, and 32 MiB beside a table for a million users" {
	"$SPILLWAY" unload
	TABLE='' config 127.0.0.1:9469
	start
	assert [ "$("$SPILLWAY" status --json | jq .table.cells)" -ge 1000000 ]
	get /metrics >/dev/null
	local pid before after resident
	pid=$(cat "$DIR/pid")
	assert_equal "$(cat "/proc/$pid/comm")" spillway
	ticks() { sed 's/.*) //' "/proc/$pid/stat" | awk '{print $12 + $13}'; }
	before=$(ticks)
	sleep 10
	after=$(ticks)
	echo "ticks: $((after - before)) of $((10 * $(getconf CLK_TCK)))"
	assert [ "$((100 * (after - before)))" -le "$((10 * $(getconf CLK_TCK)))" ]
	# The maps that are shared with the kernel are the table.
	resident=$(awk '/^[0-9a-f]+-[0-9a-f]+ / {shared = /bpf-map/} /^Rss:/ && !shared {n += $2} END {print n}' "/proc/$pid/smaps")
	echo "resident: $resident kB"
	assert [ "$resident" -le 32768 ]
	"$SPILLWAY" unload
	rm "$DIR/pid"
}
