/* SPDX-License-Identifier: GPL-2.0-only */
/* Tenants: what the file says of them, and the trie that they are compiled to. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include <cmocka.h>

#include "datapath/tenants.h"
#include "unit/tenants_reference.h"

#define TENANTS(list) "interfaces: [eth0]\ntenants:\n" list
#define ONE           TENANTS("  - {name: acme, prefixes: [198.51.100.0/24, \"2001:db8::/32\"], weight: 4, class: critical}\n")
#define SERVED        "services:\n  - {name: web, protocol: tcp, ports: [80], user: {kind: tenant}"

/* `expected` is "line:column: words within the fault"; NULL where the file is good. */
static const struct {
	const char *text, *expected;
} cases[] = {
	{ONE, NULL},
	{ONE SERVED "}\n", NULL},
	{ONE "services: []\n", NULL},
	{SERVED "}\ninterfaces: [eth0]\ntenants: []\n", "2:12: no tenants"},
	{"interfaces: [eth0]\n" SERVED "}\n", "3:12: add 'tenants'"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8]}\n  - {name: b, prefixes: [10.1.0.0/16]}\n"), NULL},
	{TENANTS("  - {name: a, prefixes: [0.0.0.0/0, \"::/0\"]}\n"), NULL},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8]}\n  - {name: b, prefixes: [10.0.0.0/8]}\n"),
         "4:26: '10.0.0.0/8' is given already at line 3, column 26"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8, \"::/0\", 10.0.0.0/8]}\n"),
         "3:46: given already at line 3, column 26"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8]}\n  - {name: a, prefixes: [11.0.0.0/8]}\n"),
         "4:12: name 'a' is used already at line 3"},
	{TENANTS("  - {name: \"a b\", prefixes: [10.0.0.0/8]}\n"), "3:12: no name"},
	{TENANTS("  - {prefixes: [10.0.0.0/8]}\n"), "3:5: no 'name'"},
	{TENANTS("  - {name: a}\n"), "3:5: without prefixes"},
	{TENANTS("  - {name: a, prefixes: []}\n"), "3:5: without prefixes"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.1/8]}\n"), "3:26: did you mean 10.0.0.0/8"},
	{TENANTS("  - {name: a, prefixes: 10.0.0.0/8}\n"), "3:25: a list of prefixes"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8], weight: 0.001}\n"), "3:47: from 0.01 to 1000"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8], weight: 1001}\n"), "3:47: from 0.01 to 1000"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8], class: vital}\n"), "3:46: sheddable, normal, critical"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8], colour: red}\n"), "3:39: unknown key 'colour'"},
	{TENANTS("  - {name: a, prefixes_file: /nonexistent/list}\n"), "3:30: No such file"},
	{TENANTS("  - {name: a, prefixes_file: /}\n"), "3:30: cannot be read"},
	{TENANTS("  - {name: a, prefixes: [10.0.0.0/8], weight: 0.5}\n") SERVED ", limit: {bytes_per_second: 100}}\n",
         "5:12: 'a' of weight 0.5 may send 50 bytes a second to 'web', expected at least 64"},
};

static void test_faults(void **state)
{
	int failed = 0;
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct config_faults faults;
		struct config *config = NULL;
		char line[512] = "";
		int rc = config_parse(cases[i].text, strlen(cases[i].text), &config, &faults);
		if (rc < 0)
			config_fault_format("f", &faults.faults[0], line, sizeof(line));
		config_free(config);
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
	static const char text[] = ONE "  - {name: beta, prefixes: [192.0.2.1]}\n";
	struct config_faults faults;
	struct config *config;
	(void)state;

	assert_int_equal(config_parse(text, strlen(text), &config, &faults), 0);
	assert_int_equal(config->tenants_count, 2);
	assert_int_equal(config->tenant_prefixes_count, 3);
	assert_true(config->tenants[0].key < config->tenants[1].key);
	for (size_t i = 0; i < 3; i++) {
		const struct config_tenant *tenant = &config->tenants[config->tenant_prefixes[i].tenant];
		assert_string_equal(tenant->name, i < 2 ? "acme" : "beta");
		assert_true(tenant->weight == (i < 2 ? 4 : 1));
		assert_int_equal(tenant->class_given, i < 2);
		assert_ptr_equal(config_find_tenant(config, tenant->key), tenant);
	}
	assert_null(config_find_tenant(config, 0));
	assert_null(config_find_tenant(config, UINT64_MAX));
	config_free(config);
}

/* A directory with a configuration that names the list beside it. ---------------------------------------------------
 */

struct prefix_list {
	char directory[32], path[64];
	FILE *stream;
};

static void list_begin(struct prefix_list *list)
{
	strcpy(list->directory, "/tmp/spillway-test-XXXXXX");
	assert_non_null(mkdtemp(list->directory));
	snprintf(list->path, sizeof(list->path), "%s/list", list->directory);
	list->stream = fopen(list->path, "w");
	assert_non_null(list->stream);
}

/* Loads the configuration; the fault's text in `fault`, empty where there is none. Removes the directory. */
static int list_load(struct prefix_list *list, struct config **config, char fault[512], size_t *faults_count)
{
	static const char text[] = TENANTS("  - {name: acme, prefixes_file: list, prefixes: [192.0.2.0/24]}\n");
	struct config_faults faults;
	char path[64];

	assert_int_equal(fclose(list->stream), 0);
	snprintf(path, sizeof(path), "%s/spillway.yaml", list->directory);
	FILE *stream = fopen(path, "w");
	if (!stream) {
		fail_msg("%s: cannot be written", path);
		return -EIO;
	}
	fputs(text, stream);
	assert_int_equal(fclose(stream), 0);
	int rc = config_load(path, config, &faults);
	fault[0] = '\0';
	if (rc < 0)
		config_fault_format("f", &faults.faults[0], fault, 512);
	*faults_count = faults.count;
	unlink(path);
	unlink(list->path);
	rmdir(list->directory);
	return rc;
}

static void expect_list(const char *content, size_t size, size_t prefixes, const char *expected)
{
	struct config *config = NULL;
	struct prefix_list list;
	char fault[512] = "";
	size_t faults = 0;

	list_begin(&list);
	fwrite(content, 1, size, list.stream);
	int rc = list_load(&list, &config, fault, &faults);
	if (expected) {
		assert_int_equal(rc, -EINVAL);
		if (!strstr(fault, expected))
			fail_msg("expected '%s', got '%s'", expected, fault);
		assert_int_equal(faults, 1);
	} else {
		assert_string_equal(fault, "");
		assert_int_equal(config ? config->tenant_prefixes_count : 0, prefixes);
	}
	config_free(config);
}

#define EXPECT_LIST(content, prefixes, expected) expect_list(content, sizeof(content) - 1, prefixes, expected)

static void test_files_of_prefixes(void **state)
{
	char comment[1000];
	(void)state;

	EXPECT_LIST("# ours\n\n10.0.0.0/8 # all\n\t2001:db8::/32\r\n10.1.2.3", 4, NULL);
	EXPECT_LIST("", 1, NULL);
	EXPECT_LIST("10.0.0.0/8\n10.0.0.0/33\n", 0, "3:33: list:2: '10.0.0.0/33' has no prefix length");
	EXPECT_LIST("10.0.0.0/8 11.0.0.0/8\n", 0, "list:1: more than a prefix");
	EXPECT_LIST("10.0.0.0/8\n\n10.0.0.0/8\n", 0, "list:3: prefix '10.0.0.0/8' is given already at line 1 of list");
	EXPECT_LIST("192.0.2.0/24\n", 0, "3:50: prefix '192.0.2.0/24' is given already at line 1 of list");
	EXPECT_LIST("10.0.0.0/8\0junk\n", 0, "list:1: a zero byte");
	memset(comment, 'x', sizeof(comment));
	comment[999] = '\n';
	expect_list(comment, sizeof(comment), 0, "list:1: longer than any prefix");
	comment[0] = '#';
	expect_list(comment, sizeof(comment), 1, NULL);
}

/* A million lines of which one is bad: it is named, beside that there are too many. */
static void test_one_bad_line_in_a_million(void **state)
{
	struct config *config = NULL;
	struct prefix_list list;
	char fault[512];
	size_t faults;
	(void)state;

	list_begin(&list);
	for (unsigned i = 1; i <= 1000000; i++)
		fprintf(list.stream,
		        i == 777777  ? "10.%u.%u.256\n"
		        : i <= 90000 ? "10.%u.%u.0/24\n"
		                     : "# %u %u\n",
		        i >> 8 & 255, i & 255);
	assert_int_equal(list_load(&list, &config, fault, &faults), -EINVAL);
	assert_non_null(strstr(fault, "list:777777: '10."));
	assert_null(config);
}

static void test_too_many_prefixes(void **state)
{
	struct config *config = NULL;
	struct prefix_list list;
	char fault[512];
	size_t faults;
	(void)state;

	list_begin(&list);
	for (unsigned i = 1; i <= CONFIG_TENANT_PREFIXES_MAX; i++)
		fprintf(list.stream, "10.%u.%u.%u\n", i >> 16, i >> 8 & 255, i & 255);
	assert_int_equal(list_load(&list, &config, fault, &faults), -EINVAL);
	assert_non_null(strstr(fault, "more than 100,000 prefixes")); /* the one in the configuration itself */
	assert_int_equal(faults, 1);
}

static void test_many_tenants(void **state)
{
	struct config_faults faults;
	struct config *config;
	char *text = NULL;
	size_t size = 0;
	(void)state;

	FILE *stream = open_memstream(&text, &size);
	fputs(TENANTS(""), stream);
	for (unsigned i = 0; i < CONFIG_TENANTS_MAX; i++) {
		fprintf(stream, "- {name: tenant-%u, prefixes: [10.%u.%u.0", i, i >> 8, i & 255);
		for (unsigned j = 1; j < 10; j++)
			fprintf(stream, ",10.%u.%u.%u", i >> 8, i & 255, j);
		fputs("]}\n", stream);
	}
	fclose(stream);
	assert_int_equal(config_parse(text, size, &config, &faults), 0);
	assert_int_equal(config->tenant_prefixes_count, CONFIG_TENANT_PREFIXES_MAX);
	free(text);
	config_free(config);
}

/* The trie --------------------------------------------------------------------------------------------------------- */

static void release(struct config *config)
{
	free(config->tenants);
	free(config->tenant_prefixes);
}

static void compare(uint64_t *seed, enum spread spread, size_t prefixes, unsigned addresses)
{
	struct config config = {0};
	struct tenants_image image;

	random_tenants(seed, spread, prefixes < 300 ? 5 : 1000, prefixes, &config);
	assert_int_equal(tenants_compile(&config, &image, NULL), 0);
	for (unsigned i = 0; i < addresses; i++) {
		bool ipv4 = random_below(seed, 2);
		uint8_t address[16];
		random_address(seed, &config, ipv4, address);
		assert_int_equal(tenants_lookup(&image, !ipv4, address), slow_lookup(&config, ipv4, address));
	}
	tenants_image_release(&image);
	release(&config);
}

static void test_trie_says_what_the_prefixes_do(void **state)
{
	uint64_t seed = 20240607;
	(void)state;

	for (int spread = ANYWHERE; spread <= IN_BLOCKS; spread++) {
		for (unsigned round = 0; round < 1000; round++)
			compare(&seed, (enum spread)spread, random_below(&seed, 40), 100);
		for (unsigned round = 0; round < 20; round++)
			compare(&seed, (enum spread)spread, 3000, 200);
	}
}

/* What a configuration costs: with the most prefixes there may be, wherever they are. */
static void test_size(void **state)
{
	uint64_t seed = 7;
	(void)state;

	for (int spread = ANYWHERE; spread <= IN_BLOCKS; spread++) {
		struct config config = {0};
		struct tenants_image image;
		random_tenants(&seed, (enum spread)spread, CONFIG_TENANTS_MAX, CONFIG_TENANT_PREFIXES_MAX, &config);
		assert_int_equal(tenants_compile(&config, &image, NULL), 0);
		print_message("%zu prefixes: %.1f MiB\n", config.tenant_prefixes_count,
		              (double)image.lines_count * sizeof(*image.lines) / (1 << 20));
		assert_in_range(image.lines_count * sizeof(*image.lines), 1, 32U << 20);
		tenants_image_release(&image);
		release(&config);
	}
}

static void test_no_tenants(void **state)
{
	struct config config = {0};
	struct tenants_image image;
	(void)state;

	assert_int_equal(tenants_compile(&config, &image, NULL), 0);
	assert_null(image.lines);
	assert_int_equal(tenants_lookup(&image, false, (const __u8[16]){0}), 0);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_files_of_prefixes),
		cmocka_unit_test(test_one_bad_line_in_a_million),
		cmocka_unit_test(test_too_many_prefixes),
		cmocka_unit_test(test_many_tenants),
		cmocka_unit_test(test_trie_says_what_the_prefixes_do),
		cmocka_unit_test(test_size),
		cmocka_unit_test(test_no_tenants),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
