/* SPDX-License-Identifier: GPL-2.0-only */
/* The host's pressure out of files: as kernels write them, missing, empty, absurd. A case is what two looks, a second
 * apart, find in them, and the shares that come of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "observe/pressure.h"

#define STALL(total) \
	"some avg10=0.00 avg60=0.00 avg300=0.00 total=" total "\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
#define UNKNOWN NAN
#define MISSING NULL

enum file { FILE_CPU, FILE_MEMORY, FILE_IO, FILE_STAT, FILE_SOFTNET, FILES };

static const struct pressure_case {
	const char *what;
	const char *files[2][FILES]; /* at the first look, and at the second */
	double shares[PRESSURES];
} cases[] = {
	{"as it should be",
         {{STALL("1000000"), STALL("0"), STALL("500"), "cpu  100 0 100 700 100 0 0 0 0 0\ncpu0 1 2 3\n",
           "00000064 00000000 00000000 0 0\n00000064 00000000 00000000 0 0\n"},
          {STALL("1250000"), STALL("0"), STALL("1000500"), "cpu  150 0 150 760 120 0 20 0 0 0\n",
           "00000113 00000019 00000000 0 0\n00000064 00000000 00000000 0 0\n"}},
         {0.25, 0, 1, 0.1, 0.125, 0}},
	{"nothing moves",
         {{STALL("7"), STALL("7"), STALL("7"), "cpu 1 1 1 1 1 1 1 1\n", "1 1 1\n"},
          {STALL("7"), STALL("7"), STALL("7"), "cpu 1 1 1 1 1 1 1 1\n", "1 1 1\n"}},
         {0, 0, 0, 0, 0, 0}},
	{"without PSI, processors' idleness",
         {{MISSING, MISSING, MISSING, "cpu  100 0 100 700 100 0 0 0\n", "64 0 0\n"},
          {MISSING, MISSING, MISSING, "cpu  150 0 150 760 120 0 20 0\n", "c8 0 0\n"}},
         {0.6, UNKNOWN, 0.1, 0.1, 0, 0}},
	{"an old kernel's /proc/stat, without stolen time",
         {{MISSING, MISSING, MISSING, "cpu 0 0 0 0 0 0 0\n", MISSING},
          {MISSING, MISSING, MISSING, "cpu 5 0 0 5 0 0 0\n", MISSING}},
         {0.5, UNKNOWN, 0, 0, UNKNOWN, UNKNOWN}},
	{"rounds that had to stop",
         {{MISSING, MISSING, MISSING, MISSING, "0 0 0\n"}, {MISSING, MISSING, MISSING, MISSING, "2710 0 5\n"}},
         {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0, 0.15}},
	{"nothing there", {{0}, {0}}, {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN}},
	{"empty", {{"", "", "", "", ""}, {"", "", "", "", ""}}, {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN}},
	{"words",
         {{"some", "some avg10=x", "full avg10=0", "cpu busy", "one two three\n"},
          {"some", "some avg10=x", "full avg10=0", "cpu busy", "one two three\n"}},
         {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN}},
	{"cut off",
         {{"some avg10=0.00 avg60=0.00 avg300=0.00 total=", STALL("1"), STALL("1"), "cpu  1 2 3 4", "00000064 000"},
          {"some avg10=0.00 avg60=0.00 avg300=0.00 total=", STALL("1"), STALL("1"), "cpu  1 2 3 4", "00000064 000"}},
         {UNKNOWN, 0, 0, UNKNOWN, UNKNOWN, UNKNOWN}},
	{"backwards",
         {{STALL("9000000"), STALL("9"), STALL("9"), "cpu 9 9 9 9 9 9 9 9\n", "9 9 9\n"},
          {STALL("1"), STALL("1"), STALL("1"), "cpu 1 1 1 1 1 1 1 1\n", "1 1 1\n"}},
         {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN}},
	{"more than there was time for",
         {{STALL("0"), STALL("0"), STALL("0"), "cpu 0 0 0 0 0 0 0 0\n", "0 0 0\n"},
          {STALL("18446744073709551615"), STALL("99999999999999999999999"), STALL("2000000"),
           "cpu 0 0 0 0 0 0 18446744073709551615 0\n", "1 ffffffff ffffffff\n"}},
         {1, UNKNOWN, 1, 1, 1, 1}},
	{"negative",
         {{STALL("0"), STALL("0"), STALL("0"), "cpu -1 -1 -1 -1 -1 -1 -1 -1\n", "0 0 0\n"},
          {STALL("0"), STALL("0"), STALL("0"), "cpu -9 -9 -9 -9 -9 -9 -9 -9\n", "0 0 0\n"}},
         {0, 0, 0, UNKNOWN, 0, 0}},
	{"PSI comes: before and after are not one measure",
         {{MISSING, MISSING, MISSING, "cpu 0 0 0 0 0 0 0 0\n", "0 0 0\n"},
          {STALL("0"), STALL("0"), STALL("0"), "cpu 1 1 1 1 1 1 1 1\n", "0 0 0\n"}},
         {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN}},
	{"received and nothing lost, on a processor that has just come",
         {{MISSING, MISSING, MISSING, MISSING, "64 0 0\n"}, {MISSING, MISSING, MISSING, MISSING, "64 0 0\n64 0 0\n"}},
         {UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, 0, 0}},
};

static char directory[] = "/tmp/pressure-XXXXXX";
static char paths_text[FILES][64];
static struct pressure_paths paths;

static void put(const char *const files[FILES])
{
	for (int file = 0; file < FILES; file++) {
		unlink(paths_text[file]);
		if (!files[file])
			continue;
		FILE *out = fopen(paths_text[file], "w");
		if (!out)
			abort();
		fputs(files[file], out);
		fclose(out);
	}
}

static bool same(double a, double b)
{
	return (isnan(a) && isnan(b)) || fabs(a - b) < 1e-9;
}

static void test_cases(void **state)
{
	struct error err;
	(void)state;

	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct pressure *pressure;
		double most = 0;
		assert_int_equal(pressure_new(&pressure, &paths, &err), 0);
		put(cases[i].files[0]);
		pressure_look(pressure, 100);
		for (int resource = 0; resource < PRESSURES; resource++)
			assert_true(isnan(pressure_read(pressure, (enum pressure_resource)resource)));
		put(cases[i].files[1]);
		pressure_look(pressure, 101);
		for (int resource = 0; resource < PRESSURES; resource++) {
			double share = pressure_read(pressure, (enum pressure_resource)resource);
			if (!same(share, cases[i].shares[resource]))
				fail_msg("%s: %s %g, not %g", cases[i].what, pressure_names[resource], share,
				         cases[i].shares[resource]);
			if (resource != PRESSURE_SQUEEZE)
				most = fmax(most, cases[i].shares[resource]);
		}
		assert_true(same(pressure_most(pressure), most));
		pressure_free(pressure);
	}
}

static void test_time_that_stands_still(void **state)
{
	struct pressure *pressure;
	struct error err;
	(void)state;

	assert_int_equal(pressure_new(&pressure, &paths, &err), 0);
	put(cases[0].files[0]);
	pressure_look(pressure, 100);
	put(cases[0].files[1]);
	pressure_look(pressure, 101);
	/* Neither the same moment nor an earlier one is looked at again. */
	put(cases[0].files[0]);
	pressure_look(pressure, 101);
	pressure_look(pressure, 50);
	assert_true(same(pressure_read(pressure, PRESSURE_CPU), 0.25));
	assert_true(pressure_has_stalls(pressure));
	pressure_free(pressure);
}

static void test_a_file_too_large_or_none(void **state)
{
	struct pressure *pressure;
	struct error err;
	(void)state;

	static const char *const nothing[FILES];
	put(nothing);
	FILE *out = fopen(paths_text[FILE_STAT], "w");
	if (!out)
		abort();
	fputs("cpu 1 1 1 1 1 1 1 1\n", out);
	for (int i = 0; i < 1 << 20; i++)
		fputc('x', out);
	fclose(out);
	assert_int_equal(pressure_new(&pressure, &paths, &err), 0);
	pressure_look(pressure, 1);
	pressure_look(pressure, 2);
	assert_true(isnan(pressure_read(pressure, PRESSURE_SOFTIRQ)));
	unlink(paths_text[FILE_STAT]);
	assert_int_equal(mkfifo(paths_text[FILE_STAT], 0600), 0); /* nobody writes into it, and nobody waits */
	pressure_look(pressure, 3);
	assert_true(isnan(pressure_read(pressure, PRESSURE_SOFTIRQ)));
	pressure_free(pressure);
}

static void test_this_host(void **state)
{
	struct pressure *pressure;
	struct error err;
	(void)state;

	assert_int_equal(pressure_new(&pressure, NULL, &err), 0);
	pressure_look(pressure, 1);
	usleep(20000);
	pressure_look(pressure, 1.02);
	for (int resource = 0; resource < PRESSURES; resource++) {
		double share = pressure_read(pressure, (enum pressure_resource)resource);
		assert_true(isnan(share) || (share >= 0 && share <= 1));
	}
	assert_false(isnan(pressure_read(pressure, PRESSURE_SOFTIRQ)));
	assert_false(isnan(pressure_read(pressure, PRESSURE_BACKLOG)));
	pressure_free(pressure);
}

static int make(void **state)
{
	static const char *const names[FILES] = {"cpu", "memory", "io", "stat", "softnet"};
	(void)state;

	if (!mkdtemp(directory))
		return -1;
	for (int file = 0; file < FILES; file++)
		snprintf(paths_text[file], sizeof(paths_text[file]), "%s/%s", directory, names[file]);
	paths = (struct pressure_paths){.cpu = paths_text[FILE_CPU],
	                                .memory = paths_text[FILE_MEMORY],
	                                .io = paths_text[FILE_IO],
	                                .stat = paths_text[FILE_STAT],
	                                .softnet = paths_text[FILE_SOFTNET]};
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	for (int file = 0; file < FILES; file++)
		unlink(paths_text[file]);
	return rmdir(directory);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
		cmocka_unit_test(test_time_that_stands_still),
		cmocka_unit_test(test_a_file_too_large_or_none),
		cmocka_unit_test(test_this_host),
	};

	return cmocka_run_group_tests(tests, make, remove_files);
}
