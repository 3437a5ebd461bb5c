#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# A real Prometheus that scrapes the daemon each second, beside it in a namespace of its own; and what ships for it: alert
# rules and a dashboard.

load common

MONITORING="$BATS_TEST_DIRNAME/../../tools/monitoring"

setup_file() {
	name_places
	export NS="swg-$$" PLACE="swg-$$" IFACE=edge0 SPILLWAY_PINS="/sys/fs/bpf/spillway-prometheus-$$"
	ip netns add "$NS"
	ip -n "$NS" link set lo up
	ip -n "$NS" link add "$IFACE" type veth peer name attack
	inside sysctl -qw net.ipv6.conf.attack.disable_ipv6=1
	inside sysctl -qw "net.ipv6.conf.$IFACE.disable_ipv6=1"
	ip -n "$NS" link set "$IFACE" address 02:00:00:00:00:01 up
	ip -n "$NS" address add 192.0.2.1/24 dev "$IFACE"
	ip -n "$NS" link set attack up
}

teardown_file() {
	"$SPILLWAY" unload || true
	ip netns del "$NS" || true
}

setup() {
	load_assertions
	started=()
}

teardown() {
	[ ${#started[@]} -eq 0 ] || kill "${started[@]}" 2>/dev/null || true
	stop
	"$SPILLWAY" unload
}

inside() {
	nsenter --net="/run/netns/$NS" "$@"
}

config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: 127.0.0.1:9469
		metrics: {users_per_service: 3}
		table: {users: 100000}
		services:
		  - {name: web, protocol: tcp, ports: [80], mode: observe, limit: {packets_per_second: 100, burst: 10}}
		  - {name: dns, protocol: udp, ports: [53], capacity: 50k, limit: {packets_per_second: 100, burst: 10}}
	END
}

flood() {
	chrt -f 1 nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --size 64 --seconds 900 "$@" >/dev/null 3>&- &
	started+=($!)
}

prometheus() {
	sed -E 's/(_interval): 15s/\1: 1s/' "$MONITORING/prometheus/prometheus.yml" >"$DIR/prometheus.yml"
	sed -E 's/^( *for): .*/\1: 1s/' "$MONITORING/prometheus/spillway.rules.yml" >"$DIR/spillway.rules.yml"
	nsenter --net="/run/netns/$NS" prometheus --config.file="$DIR/prometheus.yml" --storage.tsdb.path="$DIR/tsdb" \
		--web.listen-address=127.0.0.1:9090 >"$DIR/prometheus.log" 2>&1 3>&- &
	started+=($!)
	until_true 60 inside curl -sf --max-time 2 http://127.0.0.1:9090/-/ready >/dev/null
}

# query EXPRESSION: a line for each series of the answer: its labels' values in their names' order, and the value.
query() {
	inside curl -sS --max-time 60 --data-urlencode "query=$1" http://127.0.0.1:9090/api/v1/query |
		jq -r '.data.result[] | ([.metric | to_entries | sort_by(.key)[] | .value] + [.value[1]]) | join(" ")'
}

metrics() {
	inside curl -sS --max-time 60 "$@" http://127.0.0.1:9469/metrics
}

# Whether Prometheus has the rates of services and the heaviest users that the verbs tell now. Its are of some seconds, theirs
# of the last one.
rates_agree() {
	local service i
	"$SPILLWAY" services --json >"$DIR/services"
	"$SPILLWAY" users --service dns --json >"$DIR/users"
	query 'sum by (service) (rate(spillway_packets_total{verdict!="shadow"}[8s]))' >"$DIR/rates"
	query 'topk(3, spillway_user_packets_per_second{service="dns"})' >"$DIR/top"
	cat "$DIR/rates" "$DIR/top"
	for service in dns web; do
		near "$(awk -v s=$service '$1 == s {print $2}' "$DIR/rates")" \
			"$(jq ".[] | select(.name == \"$service\") | .packets_per_second" "$DIR/services")" 15 || return 1
	done
	[ "$(awk '{print $(NF - 1)}' "$DIR/top" | xargs)" = "10.0.0.4 10.0.0.3 10.0.0.2" ] || return 1
	for i in 4 3 2; do
		near "$(awk -v u="10.0.0.$i" '$(NF - 1) == u {print $NF}' "$DIR/top")" \
			"$(jq ".[] | select(.user == \"10.0.0.$i\") | .packets_per_second" "$DIR/users")" 15 || return 1
	done
}

@test "Prometheus has the rates and the top users that the verbs tell, and fires the alerts that it must" {
	config
	start
	prometheus
	for i in 1 2 3 4; do
		flood --port 53 --protocol udp --sources "10.0.0.$i/32" --users 1 --rate $((500 * i))
	done
	flood --port 80 --protocol tcp-syn --sources 10.0.1.1/32 --users 1 --rate 1000
	scrapes() { query 'count_over_time(up{job="spillway"}[30s])' | awk '{n = $NF} END {print n + 0}'; }
	enough() { [ "$(scrapes)" -ge 11 ]; }
	until_true 60 enough

	until_true 60 rates_agree
	assert_equal "$(query 'spillway_level_packets_per_second{service="dns"}' | awk '{print $NF}')" 100

	firing() {
		[ "$(inside curl -sS --max-time 60 http://127.0.0.1:9090/api/v1/alerts | jq -r '[.data.alerts[]
			| select(.state == "firing") | .labels | .alertname + " " + .service] | sort
			| map(select(startswith("SpillwayHotSpot") | not)) | join(", ")')" = "$1" ]
	}
	until_true 60 firing "SpillwaySpilling dns, SpillwayWouldSpill web"

	metrics >"$DIR/metrics"
	run -0 inside "$BATS_TEST_DIRNAME/dashboard.py" "$MONITORING/grafana/spillway.json" "$MONITORING/prometheus/spillway.rules.yml" \
		"$DIR/metrics" "http://127.0.0.1:9090"
}

@test "alert rules: promtool finds no fault, and each alert comes when it must and not when it must not" {
	run -0 promtool check rules "$MONITORING/prometheus/spillway.rules.yml"
	run -0 promtool check config --syntax-only "$MONITORING/prometheus/prometheus.yml"
	run -0 promtool test rules "$MONITORING/prometheus/spillway.rules.test.yml"
	# Every alert that there is has a test in which it fires.
	assert_equal "$(sed -n 's/^ *- alert: //p' "$MONITORING/prometheus/spillway.rules.yml" | sort | xargs)" \
		"$(grep -B1 '^        alertname:\|^ *exp_alerts:' "$MONITORING/prometheus/spillway.rules.test.yml" |
			sed -n 's/^        alertname: //p' | sort -u | xargs)"
}

@test "both formats say the same, to strict parsers" {
	config
	start
	flood --port 53 --protocol udp --sources 10.0.0.0/24 --users 5 --rate 1000
	named() { metrics | grep -q '^spillway_user_packets_per_second{'; }
	until_true 60 named
	kill "${started[@]}"
	wait "${started[@]}" || true
	started=()
	metrics >"$DIR/plain"
	metrics -H 'Accept: application/openmetrics-text' >"$DIR/open"
	run -0 promtool check metrics <"$DIR/plain"
	assert_output ""
	/usr/bin/python3 - "$DIR/plain" "$DIR/open" <<-'END'
		import sys
		from prometheus_client import openmetrics, parser
		from prometheus_client.openmetrics import parser as strict
		def samples(families):
		    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples
		            if not s.name.startswith(("spillway_user_", "spillway_pressure"))}  # which move by themselves
		plain = samples(parser.text_string_to_metric_families(open(sys.argv[1]).read()))
		opened = samples(strict.text_string_to_metric_families(open(sys.argv[2]).read()))
		assert plain == opened, set(plain.items()) ^ set(opened.items())
		assert len(plain) > 100
	END
}

@test "the number of series does not follow the number of users" {
	config
	start
	# Beside those that follow what happens: its kinds are few, whoever does it.
	series() {
		sed -E '/^(#|spillway_(user_packets_per_second|hotspot|events_total|host_drops_total)\{)/d; s/ [^ ]*$//'
	}
	until_true 60 eval 'metrics | grep -q ^spillway_pressure_ratio'
	metrics | series >"$DIR/before"
	flood --port 53 --protocol udp --sources 10.0.0.0/8 --users 20000 --rate 20000
	many() { [ "$(number dns active_users)" -gt 1000 ]; }
	until_true 60 many
	metrics >"$DIR/metrics"
	assert_equal "$(grep -c '^spillway_user_packets_per_second{' "$DIR/metrics")" 3
	run diff "$DIR/before" <(series <"$DIR/metrics")
	assert_output ""
	assert [ "$(grep -c '^spillway_hotspot{' "$DIR/metrics")" -le 256 ]
}

@test "1,000 services: what a scrape costs, and one that is cut off leaves nothing behind" {
	config
	sed -i '/^services:/,$d' "$DIR/spillway.yaml"
	{
		echo "services:"
		for i in $(seq 1000); do
			echo "  - {name: service-$i, protocol: udp, ports: [$((10000 + i))], capacity: 50k, limit: {packets_per_second: 500}}"
		done
	} >>"$DIR/spillway.yaml"
	start
	PID="$(cat "$DIR/pid")" inside /usr/bin/python3 - >&3 <<-'END'
		import os, socket, struct, time
		pid = os.environ["PID"]
		def spent():
		    return int(open(f"/proc/{pid}/schedstat").read().split()[0]) / 1e6
		def resident():
		    return int(open(f"/proc/{pid}/statm").read().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
		def descriptors():
		    return len(os.listdir(f"/proc/{pid}/fd"))
		def recording():  # the history is opened by another thread, when it comes to it
		    files = f"/proc/{pid}/fd"
		    return any("history.db-shm" in os.path.realpath(f"{files}/{file}") for file in os.listdir(files))
		def ask():
		    s = socket.create_connection(("127.0.0.1", 9469), timeout=120)
		    s.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		    return s
		def scrape():
		    began, before, size = time.monotonic(), spent(), 0
		    with ask() as s:
		        while got := s.recv(1 << 20):
		            size += len(got)
		    return spent() - before, (time.monotonic() - began) * 1000, size
		runs = [scrape() for _ in range(8)]
		print(f"# the best of 8: {min(r[0] for r in runs):.1f} ms of processor time, {min(r[1] for r in runs):.1f} ms in all, "
		      f"{runs[-1][2]} bytes")
		assert min(r[2] for r in runs) > 3_000_000
		deadline = time.monotonic() + 60
		while not recording() and time.monotonic() < deadline:
		    time.sleep(0.1)
		# Cut off: with a reset, in the middle of what comes and before anything does.
		memory, files = resident(), descriptors()
		for i in range(60):
		    s = ask()
		    if i % 2:
		        s.recv(10000)
		    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
		    s.close()
		scrape()
		deadline = time.monotonic() + 60
		while (descriptors() > files or resident() > memory + 8) and time.monotonic() < deadline:
		    time.sleep(0.1)
		print(f"# resident: {memory:.1f} MB before, {resident():.1f} MB after 60 that were cut off")
		assert descriptors() <= files, (files, descriptors())
		assert resident() < memory + 8, (memory, resident())
	END
}
