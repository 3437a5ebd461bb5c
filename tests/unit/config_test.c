/* SPDX-License-Identifier: GPL-2.0-only */
/* Configuration files in, structs or faults out; and no text whatever crashes the reader. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "config/config.h"

#define TOP       "interfaces: [eth0]\n"
#define WEB       TOP "services:\n  - name: web\n    protocol: tcp\n    ports: [80]\n"
#define WITH(key) WEB "    " key "\n"
#define TWO(rest) WEB "  - " rest "\n"

static const char good[] =
	"interfaces: [eth0, eth1]\nmode: enforce\nlisten: \"[::1]:9000\"\nservices:\n"
	"  - name: web\n    protocol: tcp\n    ports: [80, 443, 8000-8010]\n"
	"    destinations: [203.0.113.0/24, \"2001:db8::/32\"]\n"
	"    user: {kind: source, ipv4: 24, ipv6: 48}\n"
	"    limit: {packets_per_second: 1k, burst: 200}\n"
	"  - {name: ping, protocol: icmp, mode: observe, limit: {packets_per_second: 0.5}}\n"
	"malformed: pass\nallow_generic: true\ntable: {users: 5000}\nmetrics: {users_per_service: 0}\n"
	"deny: [203.0.113.99]\nallow: [\"2001:db8::/32\", 192.0.2.0/28]\nlists: {allowed_packets_per_second: 50k}\n";

/* `expected` is "line:column: words within the fault"; NULL where the file is good. */
static const struct {
	const char *text, *expected;
} cases[] = {
	{TOP, NULL},
	{WEB, NULL},
	{good, NULL},
	{TOP "listen: null\n", NULL},
	{TOP "listen: 0.0.0.0:1\n", NULL},
	{TWO("{name: dns, protocol: udp, ports: [80]}"), NULL},
	{TWO("{name: b, protocol: tcp, ports: [81-65535, 1-79]}"), NULL},
	{"", "1:1: empty"},
	{"[a]\n", "1:1: found a list"},
	{"interfaces: []\n", "1:13: empty list"},
	{"interfaces: eth0\n", "1:13: expected a list"},
	{"interfaces: [a/b]\n", "1:14: name of an interface"},
	{"interfaces: [eth0, eth0]\n", "1:20: given already"},
	{"interfaces: [abcdefghijklmnop]\n", "1:14: up to 15"},
	{"interfaces: [a\n", "2:1: no YAML"},
	{TOP "\tx: 1\n", "2:1: no YAML"},
	{TOP "\xff\n", "2:1: no YAML"},
	{TOP "---\na: 1\n", "3:1: second document"},
	{TOP TOP, "2:1: given already at line 1"},
	{TOP "bogus: 1\n", "2:1: unknown key 'bogus'"},
	{TOP "mode: on\n", "2:7: observe, enforce"},
	{TOP "mode:\n", "2:6: found nothing"},
	{TOP "listen: 9469\n", "2:9: an address and a port"},
	{TOP "listen: 1.2.3.4:0\n", "2:9: an address"},
	{TOP "listen: 1.2.3.4:65536\n", "2:9: an address"},
	{TOP "listen: \"[::1:80\"\n", "2:9: an address"},
	{TOP "malformed: drop\n", "2:12: spill, pass"},
	{TOP "allow_generic: yes\n", "2:16: true, false"},
	{TOP "table: {users: 999}\n", "2:16: from 1000"},
	{TOP "table: {users: 17M}\n", "2:16: to 16000000"},
	{TOP "metrics: {users_per_service: 101}\n", "2:30: from 0 to 100"},
	{TOP "metrics: {users_per_service: 1.5}\n", "2:30: whole number"},
	{TOP "hotspots: {share: 0.3, past: 0, level: 1.5, packets_per_second: 10k}\n", NULL},
	{TOP "hotspots: {share: 2}\n", "2:19: to 1"},
	{TOP "hotspots: {packets_per_second: 0}\n", "2:32: from 1"},
	{TOP "hotspots: {past: -1}\n", "2:18: "},
	{TOP "tenants: []\n", NULL},
	{TOP "tenants: {}\n", "2:10: a list of tenants"},
	{TOP "allow: []\ndeny: []\n", NULL},
	{TOP "allow: [192.0.2.0/28, \"2001:db8::/32\"]\ndeny: [192.0.2.0/29, 192.0.2.1]\n", NULL},
	{TOP "allow: 192.0.2.0/28\n", "2:8: expected a list"},
	{TOP "deny: [192.0.2.1/28]\n", "2:8: did you mean 192.0.2.0/28"},
	{TOP "deny: [nobody]\n", "2:8: no IPv4 or IPv6"},
	{TOP "deny: [10.0.0.0/8, 11.0.0.0/8, 10.0.0.0/8]\n", "2:32: given already at line 2, column 8"},
	{TOP "allow: [10.0.0.0/8]\ndeny: [11.0.0.0/8, 10.0.0.0/8]\n",
         "3:20: is allowed at line 2, column 9, and denied"},
	{TOP "deny: [\"2001:db8::/32\"]\nallow: [\"2001:db8:0::/32\"]\n", "3:9: is denied at line 2"},
	{TOP "lists: {allowed_packets_per_second: 50k, entries: 2M}\n", NULL},
	{TOP "lists: {allowed_packets_per_second: 0}\n", "2:37: from 1"},
	{TOP "lists: {entries: 999}\n", "2:18: from 1000"},
	{TOP "lists: {bogus: 1}\n", "2:9: unknown key 'bogus' in lists"},
	{WITH("adaptive: {minimum: 20, maximum: 100k, target_response: 5ms}"), NULL},
	{WITH("adaptive: {minimum: 20, maximum: 20, burst: 1s}\n    replies: no"), NULL},
	{WITH("adaptive: {minimum_bytes: 10kB, maximum_bytes: 1GB}\n    capacity: {maximum_bytes: 1GB}"), NULL},
	{WITH("adaptive: {minimum: 20, maximum: 100k}\n    capacity: {minimum: 500, maximum: 50k}"), NULL},
	{WITH("adaptive: {minimum: 20, maximum: 100k}\n    capacity: 50k"), NULL},
	{WITH("adaptive: {minimum: 20, maximum: 100k}\n    limit: {bytes_per_second: 1MB}"), NULL},
	{WITH("adaptive: {}"), "6:15: a bound is missing"},
	{WITH("adaptive: 20"), "6:15: expected adaptive as a mapping"},
	{WITH("adaptive: {minimum: 20}"), "6:15: a bound is missing"},
	{WITH("adaptive: {minimum: 20, maximum_bytes: 1MB}"), "6:15: in packets and in bytes"},
	{WITH("adaptive: {minimum: 21, maximum: 20}"), "6:15: minimum 21 is above maximum 20"},
	{WITH("adaptive: {minimum_bytes: 2MB, maximum_bytes: 1MB}"), "6:15: above maximum"},
	{WITH("adaptive: {minimum: 0, maximum: 20}"), "6:25: from 0.1"},
	{WITH("adaptive: {minimum: -1, maximum: 20}"), "6:25: "},
	{WITH("adaptive: {minimum: 1, maximum: .inf}"), "6:37: "},
	{WITH("adaptive: {minimum: 1, maximum: 20, target_response: 5}"), "6:58: a time as 5ms"},
	{WITH("adaptive: {minimum: 1, maximum: 20, target_response: 1ns}"), "6:58: from 50 us to 1m"},
	{WITH("adaptive: {minimum: 1, maximum: 20, target_response: 1h}"), "6:58: from 50 us"},
	{WITH("adaptive: {minimum: 1, maximum: 20, burst: 1ms}"), "6:48: from 10 ms"},
	{WITH("replies: maybe"), "6:14: yes, no"},
	{WITH("adaptive: {minimum: 1, maximum: 20, target_response: 5ms}\n    replies: no"),
         "6:15: no 'replies' to be timed"},
	{WITH("adaptive: {minimum: 1, maximum: 20}\n    limit: {packets_per_second: 5}"),
         "6:15: 'packets_per_second' beside 'adaptive'"},
	{WITH("limit: {bytes_per_second: 1MB}\n    adaptive: {minimum_bytes: 64, maximum_bytes: 1kB}"),
         "7:15: 'bytes_per_second' beside 'adaptive'"},
	{WITH("adaptive: {minimum: 1, maximum: 20}\n    limit: {burst: 5}"), "7:12: without a limit in packets"},
	{WITH("adaptive: {minimum: 1, maximum: 20}\n    capacity: {maximum_bytes: 1MB}"), "6:15: capacity in bytes"},
	{WITH("adaptive: {minimum_bytes: 64, maximum_bytes: 1kB}\n    capacity: 100"), "6:15: capacity in packets"},
	{WITH("adaptive: {minimum: 20, maximum: 200}\n    capacity: {maximum: 10}"), "6:15: grants a single user"},
	{WITH("capacity: {minimum: 20, maximum: 10}"), "6:15: minimum 20 is above maximum 10"},
	{WITH("capacity: {maximum: 10}"), "6:15: without 'adaptive'"},
	{WITH("capacity: {}\n    adaptive: {minimum: 1, maximum: 2}"), NULL},
	{TOP "controller: {relax_after: 5s}\n", NULL},
	{TOP "controller: {relax_after: 1s}\n", "2:27: from 2 s to 1h"},
	{TOP "controller: {}\n", "2:13: no 'relax_after'"},
	{TOP "history: null\n", NULL},
	{TOP "history: {}\n", NULL},
	{TOP "history: {path: /srv/spillway.db, size: 20GB}\n", NULL},
	{TOP "history: off\n", "2:10: expected history as a mapping"},
	{TOP "history: {path: spillway.db}\n", "2:17: from / on"},
	{TOP "history: {path: /srv/}\n", "2:17: from / on"},
	{TOP "history: {path: \"\"}\n", "2:17: from / on"},
	{TOP "history: {size: 15MB}\n", "2:17: expected 16 MB"},
	{TOP "history: {bytes: 1GB}\n", "2:11: unknown key 'bytes' in history"},
	{WITH("class: critical"), NULL},
	{WITH("class: vital"), "6:12: sheddable, normal, critical"},
	{WITH("capacity: 10k"), NULL},
	{WITH("capacity: 0"), "6:15: from 1"},
	{WITH("limit: {bytes_per_second: 10MB, burst_bytes: 1MB, connections_per_second: 50}"), NULL},
	{WITH("limit: {bytes_per_second: 63}"), "6:31: 64 B"},
	{WITH("limit: {bytes_per_second: 10 Mbit}"), "6:31: a number of bytes"},
	{WITH("limit: {connections_per_second: 0}"), "6:37: from 0.1"},
	{WITH("limit: {burst_connections: 5}"), "6:12: without a limit in connections"},
	{WITH("limit: {bytes_per_second: 64, burst_bytes: 1MB}"), "6:12: at most 900 s"},
	{TWO("{name: u, protocol: udp, ports: [80], limit: {connections_per_second: 1}}"), "6:50: protocol: tcp"},
	{WITH("user: {kind: tenant}"), "3:11: add 'tenants'"},
	{WITH("user: {kind: payload}"), "6:11: needs 'offset' and 'length'"},
	{WITH("user: {kind: payload, offset: 1, length: 8}"), "6:11: protocol: udp"},
	{TWO("{name: u, protocol: udp, ports: [80], user: {kind: payload, offset: 2047, length: 16}}"), NULL},
	{TWO("{name: u, protocol: udp, ports: [80], user: {kind: payload, offset: 2048, length: 16}}"),
         "6:73: to 2047"},
	{TWO("{name: u, protocol: udp, ports: [80], user: {kind: payload, offset: 0, length: 17}}"), "6:84: to 16"},
	{WITH("user: {kind: tag}"), NULL},
	{TOP "services:\n  - {name: ping, protocol: icmp, user: {kind: tag}}\n", "3:40: protocol: tcp"},
	{TOP "tags: {cgroup: /system.slice/shop.service, allow_uids: [33, 4294967294]}\n", NULL},
	{TOP "tags: {cgroup: system.slice}\n", "2:16: /proc/PID/cgroup"},
	{TOP "tags: {cgroup: /a/../b}\n", "2:16: /proc/PID/cgroup"},
	{TOP "tags: {allow_uids: 33}\n", "2:20: expected a list"},
	{TOP "tags: {allow_uids: [-1]}\n", "2:21: "},
	{TOP "tags: {allow_uids: [4294967295]}\n", "2:21: "},
	{WITH("user: {offset: 1}"), "6:11: of users of kind 'payload'"},
	{WITH("user: {length: 1}"), "6:11: of users of kind 'payload'"},
	{WITH("user: {ipv4: 33}"), "6:18: from 0 to 32"},
	{WITH("user: {ipv6: 129}"), "6:18: from 0 to 128"},
	{WITH("limit: {}"), "6:12: limit of nothing"},
	{WITH("limit: {packets_per_second: 0.01}"), "6:33: from 0.1"},
	{WITH("limit: {packets_per_second: 101M}"), "6:33: to 100000000"},
	{WITH("limit: {packets_per_second: -1}"), "6:33: no number"},
	{WITH("limit: {packets_per_second: 1, burst: 0}"), "6:43: from 1"},
	{WITH("limit: {packets_per_second: 1, burst: 901}"), "6:12: at most 900 s"},
	{WITH("destinations: [10.0.0.1/8]"), "6:20: did you mean 10.0.0.0/8"},
	{WITH("destinations: [10.0.0.0/8, 10.0.0.0/8]"), "6:32: given already at line 6"},
	{WITH("destinations: []"), "6:19: empty list"},
	{TWO("{name: web, protocol: udp, ports: [1]}"), "6:12: name 'web' is used already at line 3"},
	{TWO("{name: other, protocol: udp, ports: [1]}"), "6:12: reserved"},
	{TWO("{name: a b, protocol: udp, ports: [1]}"), "6:12: no name"},
	{TWO("{name: \"a\\0b\", protocol: udp, ports: [1]}"), "6:12: zero byte"},
	{TWO("{name: b, protocol: gre}"), "6:25: tcp, udp, sctp"},
	{TWO("{name: b, protocol: udp}"), "6:5: no 'ports'"},
	{TWO("{name: b, protocol: icmp, ports: [1]}"), "6:38: protocol that has none"},
	{TWO("{name: b, protocol: udp, ports: [0]}"), "6:38: from 1 to 65535"},
	{TWO("{name: b, protocol: udp, ports: [65536]}"), "6:38: from 1 to 65535"},
	{TWO("{name: b, protocol: udp, ports: [9-8]}"), "6:38: reversed"},
	{TWO("{name: b, protocol: udp, ports: [1-5, 5]}"), "6:43: port 5 is in this service already"},
	{TWO("{name: b, protocol: tcp, ports: [70-90]}"), "6:38: port 80 of 'b' belongs to service 'web' at line 3"},
	{TWO("{name: b, protocol: tcp, ports: [80], destinations: [10.0.0.0/8]}"), "6:38: port 80"},
	{TOP "services:\n  - {name: a, protocol: icmp}\n  - {name: b, protocol: icmp}\n",
         "4:12: service 'a' at line 3"},
};

static int parse(const char *text, size_t size, struct config_faults *faults)
{
	struct config *config = NULL;
	/* an exact copy on the heap, so that the sanitizer sees a byte too far */
	char *copy = malloc(size + !size);
	assert_non_null(copy);
	memcpy(copy, text, size);
	int rc = config_parse(copy, size, &config, faults);
	assert_true((rc == 0) == (config != NULL));
	assert_true((rc == 0) == (faults->count == 0));
	config_free(config);
	free(copy);
	return rc;
}

static void test_cases(void **state)
{
	(void)state;
	int failed = 0;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config_faults faults;
		char line[512] = "";
		int rc = parse(cases[i].text, strlen(cases[i].text), &faults);
		if (rc < 0)
			config_fault_format("f", &faults.faults[0], line, sizeof(line));
		const char *words = cases[i].expected ? strchr(cases[i].expected, ' ') + 1 : "";
		size_t place = cases[i].expected ? (size_t)(words - cases[i].expected) : 0;
		if ((rc == 0) == !cases[i].expected &&
		    (rc == 0 || (strncmp(line + 2, cases[i].expected, place) == 0 && strstr(line, words))))
			continue;
		print_error("case %zu: expected '%s', got '%s'\n", i, cases[i].expected ? cases[i].expected : "good",
		            line);
		failed++;
	}
	assert_int_equal(failed, 0);
}

static void test_values(void **state)
{
	(void)state;
	struct config_faults faults;
	struct config *config = NULL;
	assert_int_equal(config_parse(good, strlen(good), &config, &faults), 0);
	assert_int_equal(config->interfaces_count, 2);
	assert_string_equal(config->listen.host, "::1");
	assert_int_equal(config->listen.port, 9000);
	assert_int_equal(config->table_users, 5000);
	assert_int_equal(config->metrics_users, 0);
	assert_true(config->history.on);
	assert_string_equal(config->history.path, CONFIG_HISTORY_PATH_DEFAULT);
	assert_int_equal(config->history.bytes, CONFIG_HISTORY_BYTES_DEFAULT);
	assert_true(config->allow_generic);
	assert_int_equal(config->malformed, CONFIG_MALFORMED_PASS);
	assert_int_equal(config->services[0].mode, CONFIG_ENFORCE);
	assert_int_equal(config->services[0].ports[2].last, 8010);
	assert_int_equal(config->services[0].user_ipv4_length, 24);
	assert_true(config->services[0].limit.packets.per_second == 1000);
	assert_int_equal(config->services[1].mode, CONFIG_OBSERVE);
	assert_true(config->services[1].limit.packets.burst == 1);
	assert_int_equal(config->lists.count, 3);
	assert_false(config->lists.entries[0].denied); /* in the order of prefixes: IPv4 lies in ::ffff:0:0/96 */
	assert_int_equal(config->lists.entries[0].prefix.length, 96 + 28);
	assert_true(config->lists.entries[1].denied);
	assert_int_equal(config->lists.entries[2].prefix.length, 32);
	assert_true(config->lists.allowed_pps == 50000);
	assert_int_equal(config->lists.entries_most, CONFIG_LIST_ENTRIES_DEFAULT);
	config_free(config);
}

static void test_adaptive_values(void **state)
{
	static const char text[] =
		WITH("capacity: {minimum: 500, maximum: 50k}\n    adaptive: {minimum: 20, maximum: 1k, "
	             "target_response: 5ms, burst: 2s}") "controller: {relax_after: 2500ms}\n";
	struct config_faults faults;
	struct config *config = NULL;
	(void)state;

	assert_int_equal(config_parse(text, strlen(text), &config, &faults), 0);
	const struct config_service *web = &config->services[0];
	assert_true(web->adaptive.on);
	assert_true(web->replies);
	assert_false(web->adaptive.bytes);
	assert_true(web->adaptive.minimum == 20);
	assert_true(web->adaptive.maximum == 1000);
	assert_true(web->adaptive.target_response_s == 0.005);
	assert_true(web->adaptive.capacity_minimum == 500);
	assert_true(web->capacity_pps == 50000);
	/* What counts without a controller. */
	assert_true(web->limit.packets.per_second == 1000);
	assert_true(web->limit.packets.burst == 2000);
	assert_int_equal(config->relax_after_s, 3);
	config_free(config);
}

/* F15: a file that is cut off anywhere. */
static void test_truncations(void **state)
{
	(void)state;
	struct config_faults faults;
	for (size_t size = 0; size < strlen(good); size++)
		parse(good, size, &faults);
}

/* F15: one that is damaged. */
static void test_mutations(void **state)
{
	(void)state;
	static const char marks[] = "{}[]:,-&*!|>'\"%@#?\n\t \\~0";
	uint32_t random = 20240607;
	struct config_faults faults;
	for (int round = 0; round < 3000; round++) {
		char text[sizeof(good)];
		memcpy(text, good, sizeof(good));
		for (int change = 0; change <= round % 4; change++) {
			random = random * 1664525 + 1013904223;
			size_t at = (random >> 8) % (sizeof(good) - 1);
			random = random * 1664525 + 1013904223;
			if (random >> 31)
				text[at] = (char)(random >> 16);
			else
				text[at] = marks[(random >> 8) % (sizeof(marks) - 1)];
		}
		parse(text, sizeof(good) - 1, &faults);
	}
}

/* 1,024 services of 64 ranges each; all the same ports where `same`, so that every pair clashes. */
static void check_many(bool same)
{
	char *text = NULL;
	size_t size = 0;
	FILE *stream = open_memstream(&text, &size);
	struct config_faults faults;
	fputs(TOP "services:\n", stream);
	for (unsigned i = 0; i < 1024; i++) {
		fprintf(stream, "- {name: s%u, protocol: tcp, ports: [1", i);
		for (unsigned j = 1; j < 64; j++)
			fprintf(stream, ",%u-%u", j * 1000, j * 1000 + 9);
		fprintf(stream, "], destinations: [10.0.%u.%u]}\n", same ? 0 : i / 256, same ? 0 : i % 256);
	}
	fclose(stream);
	clock_t begin = clock();
	assert_int_equal(parse(text, size, &faults), same ? -EINVAL : 0);
	print_message("1,024 services of 64 ranges: %.3f s\n", (double)(clock() - begin) / CLOCKS_PER_SEC);
	free(text);
}

static void test_many(void **state)
{
	(void)state;
	check_many(false);
	check_many(true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),           cmocka_unit_test(test_values),
		cmocka_unit_test(test_adaptive_values), cmocka_unit_test(test_truncations),
		cmocka_unit_test(test_mutations),       cmocka_unit_test(test_many),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
