/* SPDX-License-Identifier: GPL-2.0-only */
/* When a service is said to have stopped answering, and when it is not: a case is what each tick measures, a character
 * a tick, and what is told of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "observe/silence.h"

/* r a response; u a request overdue; U ten of them; b both; . nothing; x ten overdue in an interval that is not fresh.
 * Told: ! it begins, + it ends. */
static const struct {
	const char *what, *ticks, *told;
} cases[] = {
	{"answers all", "rrrrrrrr", "        "},
	{"stops, and comes back", "rr.uuu.uur", "     !   +"},
	{"all at once", "rUr", " !+"},
	{"told once, however long it lasts", "rUUUUUUU", " !      "},
	{"and each time again", "rUrUrU", " !+!+!"},
	{"never answered: no replies by nature", "UUUUUUUU", "        "},
	{"answers some: slow, or asked nonsense", "rbUbUb", "  !+!+"},
	{"a few are lost among those answered", "ruuruur", "       "},
	{"lost one in a quiet hour", "r.....u.....u...r", "                 "},
	{"nobody asks", "r..............", "               "},
	{"what is stale says nothing", "rxxxx", "     "},
	{"nor does it end anything", "rUxr", " ! +"},
};

static void test_cases(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
		struct silence silence = {0};
		assert_int_equal(strlen(cases[i].ticks), strlen(cases[i].told));
		for (size_t tick = 0; cases[i].ticks[tick]; tick++) {
			char seen = cases[i].ticks[tick];
			struct controller_signals signals = {
				.elapsed_s = 0.1,
				.fresh = seen != 'x',
				.responses = seen == 'r' || seen == 'b',
				.unanswered = seen == 'U' || seen == 'x' ? 10 : seen == 'u' || seen == 'b',
			};
			static const char told[] = {[SILENCE_SAME] = ' ', [SILENCE_BEGINS] = '!', [SILENCE_ENDS] = '+'};
			char change = told[silence_step(&silence, &signals)];
			if (change != cases[i].told[tick])
				fail_msg("%s: tick %zu: '%c', not '%c'", cases[i].what, tick, change,
				         cases[i].told[tick]);
		}
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_cases),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
