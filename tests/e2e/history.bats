#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# What was, out of the daemon's database and out of a real Prometheus: as much as was sent, in every form, and a forecast
# of weeks whose truth is known.

load common

setup_file() {
	make_wire
	export DATABASE="$DIR/history.db"
	export TZ=UTC COLUMNS=80
}

teardown_file() {
	remove_wire
}

setup() {
	load_assertions
}

teardown() {
	[ -z "${prometheus:-}" ] || kill "$prometheus" || true
	[ -z "${server:-}" ] || kill "$server" || true
	stop
}

# config [LISTEN] [PATH]
config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: [$IFACE]
		mode: enforce
		listen: ${1:-null}
		table: {users: 1000}
		history: {path: ${2:-$DATABASE}, size: 50MB}
		services:
		  - {name: dns, protocol: udp, ports: [53], limit: {packets_per_second: 100, burst: 10}}
		  - {name: web, protocol: tcp, ports: [80]}
	END
}

# A database with nothing in it but the daemon's own beginning.
fresh() {
	rm -f "$DATABASE"*
	config
	start
	until_true 60 test -s "$DATABASE"
	stop
}

# seen FROM: packets of dns that the history has, from then on.
seen() {
	"$SPILLWAY" history --database "$DATABASE" --service dns --from "$1" --step second --json |
		jq "[.[].received_packets // 0] | add // 0"
}

has_seen() {
	[ "$(seen "$1" 2>/dev/null)" = "$2" ]
}

@test "what was sent is what was, to the packet: live, after kill -9, and without a daemon" {
	config
	start
	local begin
	begin=$(date +%s)
	flood --sources 10.0.0.0/24 --users 5 --rate 1000 --count 2000 >/dev/null
	until_true 60 has_seen "@$begin" 2000
	# What is in the file survives; what comes after goes on.
	kill -9 "$(cat "$DIR/pid")"
	has_seen "@$begin" 2000
	start
	flood --sources 10.0.0.0/24 --users 5 --rate 1000 --count 1000 >/dev/null
	# A stop writes what is left.
	until_true 60 eval '[ "$(number dns received_packets)" -eq 3000 ]'
	until_true 60 eval '[ "$(number dns packets_per_second)" = 0 ]'
	sed -i 's/protocol: /protocol: x/' "$DIR/spillway.yaml"
	run -1 "$SPILLWAY" reload
	stop
	assert_equal "$(seen "@$begin")" 3000
	run -0 "$SPILLWAY" history --database "$DATABASE" --service dns --from "@$begin" --step second --format csv
	assert_line --index 0 --regexp '^time,packets_per_second,peak_packets_per_second,bytes_per_second,spilled_packets'
	# Users: five of them, with what they sent since the kill at least: each minute's are written at its end.
	run -0 "$SPILLWAY" history --database "$DATABASE" --users --service dns --from "@$((begin - 60))" --json
	assert_equal "$(jq length <<<"$output")" 5
	assert [ "$(jq '[.[].packets] | add' <<<"$output")" -ge 700 ]
	assert [ "$(jq '[.[].spilled_packets] | add' <<<"$output")" -ge 300 ]
	assert_equal "$(jq -r '.[0].service' <<<"$output")" dns
	run -0 "$SPILLWAY" history --database "$DATABASE" --users --step minute --format csv --from "@$((begin - 60))"
	assert_line --regexp '^20[0-9T:-]*:00Z,dns,10\.0\.0\.[0-9]*,'
	run -0 "$SPILLWAY" history --database "$DATABASE" --distribution --service dns --from "@$begin" --json
	assert [ "$(jq '[.[] | select(.of | startswith("users"))] | length' <<<"$output")" -ge 1 ]
	# 64 bytes a packet, in the bin of 64 to 76.
	assert_equal "$(jq -c '[.[] | select(.of | startswith("packets")) | .from | floor] | unique' <<<"$output")" '[64]'
	run -0 "$SPILLWAY" history --database "$DATABASE" --events --from "@$begin"
	assert_line --partial "interface $IFACE: attached"
	# A row is a line, though what it tells has several.
	assert_line --regexp '^20.* reload .*expected .*expected'
	refute_line --regexp '^(/|spillway)'
}

@test "status says where, how large, and that it is written; a reload moves it" {
	fresh
	config null "$DIR/other.db"
	start
	writing() { [ "$("$SPILLWAY" status --json | jq -r .history.state)" = writing ]; }
	until_true 60 writing
	run -0 "$SPILLWAY" status --json
	assert_equal "$(jq -c '.history | [.path, .size_bytes, .lost_records, .why]' <<<"$output")" \
		"[\"$DIR/other.db\",50000000,0,null]"
	assert_equal "$(jq -c '.features[] | select(.name == "history") | .on' <<<"$output")" true
	# Without --database it is the daemon's that is read.
	until_true 60 eval '[ "$("$SPILLWAY" history --step second --json 2>/dev/null | jq length)" -ge 1 ]'
	config null
	run -0 "$SPILLWAY" reload
	assert_equal "$("$SPILLWAY" status --json | jq -r .history.path)" "$DATABASE"
	sed -i 's/^history:.*/history: null/' "$DIR/spillway.yaml"
	run -0 "$SPILLWAY" reload
	assert_equal "$("$SPILLWAY" status --json | jq -c .history)" null
	assert_equal "$("$SPILLWAY" status --json | jq -c '[.features[] | select(.name == "history")]')" '[]'
}

@test "times and words that are wrong are refused, and say what would do" {
	fresh
	run -2 "$SPILLWAY" history --database "$DATABASE" --from -1h --to -2h
	assert_line "spillway: --from: the time ends before it begins"
	run -2 "$SPILLWAY" history --database "$DATABASE" --from now
	assert_line "spillway: --from: the time ends before it begins"
	for wrong in "--from 25.11.2025" "--to soon" "--step hour" "--format pdf" "more" "--users --format chart"; do
		# shellcheck disable=SC2086
		run -2 "$SPILLWAY" history --database "$DATABASE" $wrong
		assert_line --index 0 --regexp '^spillway: .*: '
	done
	for wrong in "--horizon 1s" "--horizon 2y" "--growth 0" "--growth x" "--format pdf"; do
		# shellcheck disable=SC2086
		run -2 "$SPILLWAY" forecast --database "$DATABASE" $wrong
		assert_line --index 0 --regexp '^spillway: --(horizon|growth|format): '
	done
	run -1 "$SPILLWAY" history --database "$DIR/nosuch.db"
	assert_output "spillway: history $DIR/nosuch.db: No such file or directory: name the file with --database"
	run -1 "$SPILLWAY" history --database "$DATABASE" --service nosuch
	assert_output --regexp '^spillway: service nosuch: the history has none of that name: it has .*'
	run -1 "$SPILLWAY" history --database "$DATABASE" --from -100d --step second
	assert_output --partial "more than a million samples"
	echo "this is no database, whatever its name is" >"$DIR/text.db"
	run -1 "$SPILLWAY" history --database "$DIR/text.db"
	assert_output "spillway: history $DIR/text.db: the file is no database"
	run -1 "$SPILLWAY" forecast --database "$DATABASE"
	assert_output --partial "too little history: 0.0 hours are known"
}

@test "weeks whose truth is known: table, JSON, CSV, chart and picture, and a forecast within a few percent" {
	fresh
	"$BATS_TEST_DIRNAME/past.py" "$DATABASE" 8
	run -0 "$SPILLWAY" history --database "$DATABASE" --service web --from -28d --to now --json
	assert [ "$(jq length <<<"$output")" -ge 2680 ]
	near "$(jq '[.[].packets_per_second // empty] | add / length' <<<"$output")" 985 5
	near "$(jq '.[100] | .bytes_per_second / .packets_per_second' <<<"$output")" 100 1
	near "$(jq '.[100] | .spilled_packets / .received_packets' <<<"$output")" 0.1 1
	run -0 "$SPILLWAY" history --database "$DATABASE" --service web --from -3h --format table
	assert_line --index 0 --regexp '^TIME +PACKETS/S +PEAK/S +BYTES/S +SPILLED +SHADOW +USERS '
	assert [ "${#lines[@]}" -ge 160 ]
	# A chart keeps within the terminal, whatever its width.
	local width widest
	for width in 20 80 133; do
		COLUMNS=$width "$SPILLWAY" history --database "$DATABASE" --service web --from -7d --format chart >"$DIR/chart"
		widest=$(python3 -c 'import sys; print(max(len(l.rstrip("\n")) for l in open(sys.argv[1])))' "$DIR/chart")
		assert [ "$widest" -le "$((width > 32 ? width : 32))" ]
		assert_equal "$(head -n 1 "$DIR/chart")" "Received and spilled, packets/s"
		assert [ "$(LC_ALL=C grep -c "$(printf '\342[\240-\243]')" "$DIR/chart")" -ge 8 ]
	done
	for verb in history forecast; do
		"$SPILLWAY" "$verb" --database "$DATABASE" --service web --format svg >"$DIR/picture.svg"
		python3 - "$DIR/picture.svg" <<-'END'
			import sys, xml.dom.minidom
			paths = [p.getAttribute("d") for p in xml.dom.minidom.parse(sys.argv[1]).getElementsByTagName("path")]
			assert len(paths) >= 3 and all("nan" not in p for p in paths) and any(len(p) > 500 for p in paths)
		END
	done

	"$SPILLWAY" forecast --database "$DATABASE" --service web --json >"$DIR/forecast"
	assert_equal "$(jq '.points | length' "$DIR/forecast")" 672
	cat >"$DIR/judge.py" <<-'END'
		import datetime, json, sys
		sys.path.insert(0, sys.argv[2])
		import past
		points = json.load(open(sys.argv[1]))["points"]
		apart = within = 0
		for p in points:
		    at = int(datetime.datetime.fromisoformat(p["time"].replace("Z", "+00:00")).timestamp())
		    apart += abs(p["packets_per_second"] / past.rate(at) - 1)
		    within += p["low_packets_per_second"] <= past.rate(at) <= p["high_packets_per_second"]
		print(apart / len(points), within / len(points))
		assert apart / len(points) < 0.06 and within / len(points) > 0.85
	END
	run -0 python3 "$DIR/judge.py" "$DIR/forecast" "$BATS_TEST_DIRNAME"
	assert_equal "$(jq -c '.quality | [.daily_pattern, .weekly_pattern, .backtest_origins, .level_shifts]' "$DIR/forecast")" \
		'[true,true,8,[]]'
	assert [ "$(jq '.quality | .smape < 0.1 and .coverage > 0.8 and (.growth_per_week | fabs) < 0.02' "$DIR/forecast")" = true ]
	near "$("$SPILLWAY" forecast --database "$DATABASE" --service web --json --growth 1.5 --horizon 1d |
		jq '.points[5].packets_per_second')" "$(jq '.points[5].packets_per_second * 1.5' "$DIR/forecast")" 1
	run -0 "$SPILLWAY" forecast --database "$DATABASE" --service web
	assert_line --regexp '^service web, from what was since .*: a daily pattern, a weekly pattern, [+-]0\.. % a week'
	assert_line --regexp '^back-tested from 8 earlier days, 7.0 days ahead: wrong by [0-9.]+ % '
	assert_line --regexp '^FROM +EXPECTED +PEAK +UP TO +PEAK AT'
	run -0 "$SPILLWAY" forecast --database "$DATABASE" --service web --format csv --horizon 1d
	assert_equal "${#lines[@]}" 97
}

@test "the fleet's history, from a real Prometheus: what it says is what the daemon's own says" {
	PLACE="$NS"
	ip -n "$NS" link set lo up
	"$SPILLWAY" unload
	# The daemon's end of the wire moves to where its port is free.
	ip link del "$IFACE"
	ip -n "$NS" link add "$IFACE" address 02:00:00:00:00:01 type veth peer name attack address 02:00:00:00:00:02
	ip -n "$NS" link set "$IFACE" up
	ip -n "$NS" link set attack up
	config 127.0.0.1:9469
	start
	mkdir -p "$DIR/prometheus"
	cat >"$DIR/prometheus.yml" <<-END
		global: {scrape_interval: 500ms}
		scrape_configs: [{job_name: spillway, static_configs: [{targets: ["127.0.0.1:9469"]}]}]
	END
	nsenter --net="/run/netns/$NS" prometheus --config.file="$DIR/prometheus.yml" --web.listen-address=127.0.0.1:9090 \
		--storage.tsdb.path="$DIR/prometheus" >"$DIR/prometheus.log" 2>&1 3>&- &
	prometheus=$!
	flood --sources 10.0.0.0/24 --users 5 --rate 1000 --seconds 15 >/dev/null 3>&- &
	local flooding=$! begin
	begin=$(date +%s)
	asked() { nsenter --net="/run/netns/$NS" "$SPILLWAY" history --from-prometheus http://127.0.0.1:9090/ "$@"; }
	# Both say a thousand packets a second, in most seconds.
	wait "$flooding"
	run -0 asked --service dns --step second --from "@$begin" --json
	near "$(jq '[.[] | .packets_per_second // empty | select(. > 0)] | sort | .[length / 2 | floor]' <<<"$output")" 1000 10
	run -0 "$SPILLWAY" history --database "$DATABASE" --service dns --step second --from "@$begin" --json
	near "$(jq '[.[] | .packets_per_second // empty | select(. > 0)] | sort | .[length / 2 | floor]' <<<"$output")" 1000 10
	run -0 asked --service dns --step second --from "@$begin"
	assert_line --index 0 --regexp '^TIME +PACKETS/S'
	assert_line --regexp ' 100 +'
	run -0 asked --step second --from "@$begin" --format chart
	assert_line --index 0 "Received and spilled, packets/s"
	# A name that would be a query of its own stays a name.
	run -0 asked --service '"} or vector(1) or {a="' --step second --from "@$begin" --json
	assert_output "[]"
	run -1 nsenter --net="/run/netns/$NS" "$SPILLWAY" forecast --from-prometheus http://127.0.0.1:9090 --service dns
	assert_output --partial "too little history"
	run -2 asked --users
	assert_line --index 0 --partial "knows rates alone"
	kill "$prometheus"
	prometheus=
}

@test "a Prometheus that answers nonsense: one clear line, whatever it is" {
	cat >"$DIR/nonsense.py" <<-'END'
		import http.server, json, sys
		good = {"status": "success", "data": {"resultType": "matrix", "result": []}}
		def series(values): return {**good, "data": {"resultType": "matrix", "result": [{"metric": {}, "values": values}]}}
		answers = {
		    "html": (200, b"<html><body>It works!</body></html>"), "empty": (200, b""), "null": (200, b"null"),
		    "list": (200, b"[]"), "cut": (200, b'{"status":"success","data":{"resultType":"matr'),
		    "vector": (200, json.dumps({**good, "data": {"resultType": "vector", "result": []}}).encode()),
		    "nodata": (200, b'{"status":"success"}'), "number": (200, json.dumps(series([[5, 7]])).encode()),
		    "early": (200, json.dumps(series([[5, "7"]])).encode()), "pair": (200, json.dumps(series([["x"]])).encode()),
		    "error": (422, b'{"status":"error","errorType":"execution","error":"query timed out"}'),
		    "500": (500, b"Internal Server Error"), "404": (404, b"404 page not found"),
		}
		class Handler(http.server.BaseHTTPRequestHandler):
		    def do_POST(self):
		        self.rfile.read(int(self.headers.get("Content-Length", 0)))
		        name = self.path.split("/")[1]
		        if name == "huge":
		            self.send_response(200)
		            self.end_headers()
		            try:
		                for _ in range(80):
		                    self.wfile.write(b" " * (1 << 20))
		            except OSError:
		                pass
		            return
		        code, body = answers[name]
		        self.send_response(code)
		        self.send_header("Content-Length", str(len(body)))
		        self.end_headers()
		        self.wfile.write(body)
		    def log_message(self, *args): pass
		server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
		open(sys.argv[1], "w").write(str(server.server_port))
		server.serve_forever()
	END
	rm -f "$DIR/port"
	python3 "$DIR/nonsense.py" "$DIR/port" >/dev/null 2>&1 3>&- &
	server=$!
	until_true 60 test -s "$DIR/port"
	local url name
	url="http://127.0.0.1:$(cat "$DIR/port")"
	for name in html empty null list cut vector nodata number early pair 500 404; do
		run -1 "$SPILLWAY" history --from-prometheus "$url/$name"
		assert_equal "${#lines[@]}" 1
		assert_output --regexp "^spillway: $url/$name: the answer is not a Prometheus server's: .*: is the address right\?$"
	done
	run -1 "$SPILLWAY" history --from-prometheus "$url/error"
	assert_output "spillway: $url/error: Prometheus says: query timed out"
	run -1 "$SPILLWAY" forecast --from-prometheus "$url/huge"
	assert_output --partial "larger than 64 MiB"
	kill "$server"
	server=
	run -1 "$SPILLWAY" history --from-prometheus "$url"
	assert_output --regexp "^spillway: $url: no Prometheus server answers: "
	run -1 "$SPILLWAY" history --from-prometheus "file:///etc/passwd"
	assert_output --partial "no Prometheus server answers"
}
