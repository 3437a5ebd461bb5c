#!/usr/bin/env bats
# SPDX-License-Identifier: GPL-2.0-only
# The live page in a real browser, under real floods. Daemon, browser and traffic are in a namespace of their own, from which
# no other host can be reached.

load common

setup_file() {
	name_places
	export NS="swb-$$" PLACE="swb-$$" SPILLWAY_PINS="/sys/fs/bpf/spillway-page-$$" PYTHONPATH="$BATS_TEST_DIRNAME"
	# A name that Linux allows, and that a page must not take for markup.
	export IFACE='<b>"\p0'
	ip netns add "$NS"
	ip -n "$NS" link set lo up
	ip -n "$NS" link add "$IFACE" type veth peer name attack
	inside sysctl -qw net.ipv6.conf.attack.disable_ipv6=1
	inside sysctl -qw "net.ipv6.conf.$IFACE.disable_ipv6=1"
	ip -n "$NS" link set "$IFACE" address 02:00:00:00:00:01 up
	ip -n "$NS" link set attack up
}

teardown_file() {
	"$SPILLWAY" unload || true
	ip netns del "$NS" || true
}

setup() {
	load_assertions
	flooding=()
}

teardown() {
	[ ${#flooding[@]} -eq 0 ] || kill "${flooding[@]}" 2>/dev/null || true
	stop
	"$SPILLWAY" unload
}

inside() {
	nsenter --net="/run/netns/$NS" "$@"
}

# config [LINE...]
config() {
	cat >"$DIR/spillway.yaml" <<-END
		interfaces: ['$IFACE']
		mode: enforce
		listen: 127.0.0.1:9469
		table: {users: 10000}
		services:
		  - {name: web, protocol: tcp, ports: [80], mode: observe, limit: {packets_per_second: 100, burst: 10}}
		  - {name: dns, protocol: udp, ports: [53], class: critical, limit: {packets_per_second: 100, burst: 10}}
	END
	printf '%s\n' "$@" >>"$DIR/spillway.yaml"
}

# In the background, until it is killed: a simple command, so that its process has the id that the shell knows.
flood() {
	chrt -f 1 nsenter --net="/run/netns/$NS" "$TRAFFIC" --interface attack --destination-mac 02:00:00:00:00:01 \
		--destination 192.0.2.1 --size 64 --seconds 900 "$@" >/dev/null 3>&- &
	flooding+=($!)
}

# What follows on standard input runs beside the daemon, with `page` open.
browse() {
	{
		cat <<-'END'
			import json, os, subprocess, sys, time
			from browser import Browser
			def services():
			    said = subprocess.run([os.environ["SPILLWAY"], "services", "--json"], capture_output=True, check=True).stdout
			    return {service["name"]: service for service in json.loads(said)}
			def counter(page, name):
			    return int(page.run(f"document.querySelector('[data-counter={name}]').dataset.value"))
			def row(page, service, part):
			    return page.run(f"document.querySelector('[data-service={service}] .{part}').textContent")
			def number(text):
			    digits, _, prefix = text.partition(" ")
			    return float(digits) * {"": 1, "k": 1e3, "M": 1e6}[prefix]
			page = Browser()
			page.look(*json.loads(os.environ.get("LOOK", "[1440, 900]")))
			page.open("http://127.0.0.1:9469/")
			page.until("document.querySelector('#link')?.dataset.state == 'live' && document.querySelector('#totals dd')")
		END
		cat
		printf 'page.__exit__()\n'
	} >"$DIR/browse.py"
	inside timeout 500 python3 "$DIR/browse.py"
}

@test "under a flood it shows what 'services --json' says, within one refresh" {
	config ""
	start
	flood --port 53 --protocol udp --sources 10.0.0.0/24 --users 4 --rate 2000
	flood --port 80 --protocol tcp-syn --sources 10.0.1.1/32 --users 1 --rate 500
	sleep 4
	FLOODS="${flooding[*]}" browse <<-'END'
		# What was before the page came is there at once.
		page.until("document.querySelector('[data-service=dns] .s').getAttribute('d').split('L').length > performance.now() / 1000 + 2")
		page.until("document.querySelector('#headline').dataset.state == 'spilling'")
		page.until("document.querySelectorAll('#users [data-user]').length == 4")
		assert page.run("document.querySelector('#detail').dataset.service") == "dns"

		# A figure that is two refreshes newer than one that was asked for is no older, and what is asked for then no older still.
		before = services()["dns"]
		for _ in range(2):
		    seen = counter(page, "received_packets")
		    page.until(f"document.querySelector('[data-counter=received_packets]').dataset.value != '{seen}'")
		names = "received_packets", "passed_packets", "spilled_packets"
		shown = [counter(page, name) for name in names]
		after = services()["dns"]
		for name, value in zip(names, shown):
		    assert before[name] <= value <= after[name], (name, before[name], value, after[name])

		# What people read: which, who, what is done and why.
		headline = page.run("document.querySelector('#headline').innerText")
		for words in "dns is hot", "4 users", "10.0.0.", "Spillway spills", "users over their level", "100/s for each", "web":
		    assert words in headline, headline
		for _ in range(60):  # both are of a second, but not of the same
		    apart = abs(number(row(page, "dns", "received")) / services()["dns"]["packets_per_second"] - 1)
		    if apart < 0.3:
		        break
		    time.sleep(0.5)
		assert apart < 0.3
		assert page.run("document.querySelector('[data-service=web]').dataset.state") == "shadow"

		# With the floods ended, every figure to the last packet.
		for process in os.environ["FLOODS"].split():
		    os.kill(int(process), 15)
		page.until("document.querySelector('#headline').dataset.state == 'calm'")
		for name, service in services().items():
		    page.run(f"document.querySelector('.rows [data-service={name}]').click()")
		    page.until(f"document.querySelector('#detail').dataset.service == '{name}'")
		    for verdict in "received", "passed", "spilled":
		        assert counter(page, verdict + "_packets") == service[verdict + "_packets"], (name, verdict)
		    level = service["level_packets_per_second"]
		    assert row(page, name, "level") == ("–" if level is None else f"{level:.0f}"), name
		assert services()["dns"]["spilled_packets"] > 500 and services()["web"]["shadow_packets"] > 100
	END
}

@test "it asks no other host, weighs less than 200 kB, has nothing to complain of, and takes names for text" {
	config ""
	start
	browse <<-'END'
		time.sleep(2)
		assert page.run("document.querySelector('#interfaces b').textContent") == os.environ["IFACE"]
		assert not page.run("document.querySelector('#interfaces b b')")
		strangers = [url for url in page.requests if not url.startswith(("http://127.0.0.1:9469/", "data:"))]
		assert not strangers, strangers
		assert 20000 < page.wire_bytes < 200000, page.wire_bytes
		assert not page.complaints, page.complaints
		# The policy forbids what a slip in the page would let in.
		page.run("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.slipped = 1\">')")
		time.sleep(0.3)
		assert not page.run("window.slipped")
	END
}

@test "events come with their reasons, those from before it was opened too, each once" {
	config
	start
	"$SPILLWAY" set dns level=77
	browse <<-'END'
		before = "document.querySelectorAll('#events [data-event=override]')"
		page.until(before + ".length == 1")
		assert "dns" in page.run(before + "[0].innerText")
		subprocess.run([os.environ["SPILLWAY"], "reload"], check=True, capture_output=True)
		page.until("document.querySelector('#events li').dataset.event == 'reload'")
		assert page.run("document.querySelector('#events li .why').textContent.length > 5")
		assert page.run(before + ".length") == 1
	END
}

@test "dark and light, by the system's wish and by the button; no scrolling sideways on a phone" {
	config ""
	start
	LOOK='[390, 844, "dark", true]' browse <<-'END'
		ground = "getComputedStyle(document.body).backgroundColor"
		dark = page.run(ground)
		page.look(390, 844, "light", True)
		light = page.run(ground)
		assert dark != light
		page.run("document.querySelector('#theme').click()")
		assert page.run(ground) == dark
		page.open("http://127.0.0.1:9469/")
		page.until("document.querySelector('#link')?.dataset.state == 'live'")
		assert page.run(ground) == dark, "the choice is remembered"
		assert page.run("document.documentElement.scrollWidth") <= 390
		page.until("new Set([...document.querySelectorAll('meter')].map(m => Math.round(m.getBoundingClientRect().left))).size == 2")
	END
}

@test "300 services: the hottest first, the others by name, and the page keeps up" {
	config ""
	for i in $(seq 300); do
		echo "  - {name: s$i, protocol: udp, ports: [$((10000 + i))], limit: {packets_per_second: 50}}"
	done >>"$DIR/spillway.yaml"
	start
	flood --port 10250 --protocol udp --sources 10.0.0.1/32 --users 1 --rate 1000
	browse <<-'END'
		first = "document.querySelector('.rows li').dataset.service"
		page.until(first + " == 's250'")
		count = "document.querySelectorAll('.rows li').length"
		assert page.run(count) == 40
		page.run("document.querySelector('#more').click()")
		assert page.run(count) == 303
		page.run("document.querySelector('#filter').value = 'S17'; document.querySelector('#filter').dispatchEvent(new Event('input'))")
		assert page.run(count) == 11  # s17, s170 to s179
		seen = counter(page, "received_packets")
		page.until(f"document.querySelector('[data-counter=received_packets]').dataset.value > {seen}")
	END
}

@test "a daemon that goes away is told, and one that comes back is found" {
	config ""
	start
	browse <<-'END'
		import signal
		daemon = int(open(os.environ["DIR"] + "/pid").read())
		os.kill(daemon, signal.SIGSTOP)
		page.until("document.querySelector('#headline').dataset.state == 'lost'")
		assert "Shedding goes on" in page.run("document.querySelector('#headline').textContent")
		os.kill(daemon, signal.SIGCONT)
		page.until("document.querySelector('#headline').dataset.state == 'calm'")
		page.until("document.querySelector('#link').dataset.state == 'live'")
	END
}

@test "its files: types, tags, compression, policy; HEAD; and words where there is nothing" {
	config ""
	start
	get() { inside curl -sS --max-time 60 "$@"; }
	local url=http://127.0.0.1:9469 path tag
	for path in / /page.css /page.js /dygraph.css /dygraph.js; do
		get "$url$path" -D "$DIR/head" -o "$DIR/plain"
		get "$url$path" -H 'Accept-Encoding: gzip, br' -D "$DIR/packed-head" -o "$DIR/packed"
		assert cmp "$DIR/plain" <(gunzip <"$DIR/packed")
		run cat "$DIR/packed-head"
		assert_output --partial "Content-Encoding: gzip"
		run cat "$DIR/head"
		refute_output --partial "Content-Encoding"
		assert_output --partial "Content-Security-Policy: default-src 'none'"
		assert_output --partial "frame-ancestors 'none'"
		tag=$(sed -n 's/^ETag: \(.*\)\r$/\1/p' "$DIR/head")
		assert [ -n "$tag" ]
		assert_equal "$(get "$url$path" -H "If-None-Match: $tag" -o "$DIR/nothing" -w '%{http_code} %{size_download}')" "304 0"
		assert_equal "$(get -I "$url$path" -w '%{http_code}' -o /dev/null)" 200
		assert_equal "$(get "$url$path" -H 'Host: elsewhere.example' -o /dev/null -w '%{http_code}')" 403
		assert_equal "$(get "$url$path" -d '' -o /dev/null -w '%{http_code}')" 405
	done
	get "$url/nosuch" -o "$DIR/nothing" -w '%{http_code}' >"$DIR/code"
	assert_equal "$(cat "$DIR/code")" 404
	assert_equal "$(jq -r .error "$DIR/nothing" | cut -d: -f1)" "nothing is at this path"
}
