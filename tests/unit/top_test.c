/* SPDX-License-Identifier: GPL-2.0-only */
/* The live view without a terminal: rates from documents, orders, filters, keys, the headline. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "top/samples.h"
#include "top/view.h"

/* A status of two services, `web` and `dns`, of which the second has spilled. */
static json_t *status(double uptime_s, int web, int dns, int spilled)
{
	return json_pack("{s:f,s:[{s:s,s:i,s:i,s:i,s:i,s:i},{s:s,s:i,s:i,s:i,s:i,s:i,s:{s:i,s:i}}]}", "uptime_seconds",
	                 uptime_s, "services", "name", "web", "received_packets", web, "passed_packets", web,
	                 "spilled_packets", 0, "shadow_packets", 0, "active_users", 7, "name", "dns",
	                 "received_packets", dns, "passed_packets", dns - spilled, "spilled_packets", spilled,
	                 "shadow_packets", 0, "active_users", 3, "spilled_by_reason", "user_limit", spilled, "denied",
	                 0);
}

static json_t *users(void)
{
	return json_pack("[{s:s,s:s,s:f,s:f},{s:s,s:s,s:f}]", "service", "dns", "user", "10.0.0.1",
	                 "packets_per_second", 500.0, "limit_packets_per_second", 100.0, "service", "web", "user",
	                 "10.0.0.2", "packets_per_second", 10.0);
}

static struct samples two_samples(void)
{
	struct samples samples = {0};

	assert_int_equal(samples_take(&samples, status(10, 100, 1000, 0), users()), 0);
	assert_int_equal(samples_take(&samples, status(12, 1100, 2000, 800), users()), 0);
	return samples;
}

static void rates_are_differences_over_the_daemons_own_time(void **state)
{
	(void)state;
	struct samples samples = two_samples();

	assert_float_equal(samples.services[0].now.received, 500, 1e-9);
	assert_float_equal(samples.services[1].now.passed, 100, 1e-9);
	assert_float_equal(samples.services[1].now.spilled, 400, 1e-9);
	assert_float_equal(samples.services[1].spilled_past[SAMPLES_KEPT - 1], 400, 1e-9);
	samples_free(&samples);
}

static void a_daemon_that_began_anew_has_no_rates_yet(void **state)
{
	(void)state;
	struct samples samples = two_samples();

	assert_int_equal(samples_take(&samples, status(1, 5, 6, 0), NULL), 0);
	assert_true(isnan(samples.services[0].now.received));
	assert_true(samples.services[0].received_past[SAMPLES_KEPT - 1] == 0);
	samples_free(&samples);
}

static void nonsense_changes_nothing(void **state)
{
	(void)state;
	struct samples samples = two_samples();

	assert_true(samples_take(&samples, json_pack("{s:s}", "services", "none"), NULL) < 0);
	assert_true(samples_take(&samples, NULL, NULL) < 0);
	assert_int_equal(samples.count, 2);
	samples_free(&samples);
}

static void services_come_in_the_order_that_is_asked_for(void **state)
{
	static const char *const first[ORDERS] = {"dns", "dns", "web", "dns", "dns"};
	struct samples samples = two_samples();
	const struct sampled_service *rows[4];
	struct view view;
	(void)state;

	view_start(&view, 1);
	for (int order = 0; order < ORDERS; order++) {
		assert_int_equal(view_services(&view, &samples, rows, 4), 2);
		assert_string_equal(rows[0]->name, first[view.order]);
		view_key(&view, &samples, 's');
	}
	assert_int_equal(view.order, 0);
	samples_free(&samples);
}

static void a_filter_is_text_until_enter(void **state)
{
	struct samples samples = two_samples();
	const struct sampled_service *rows[4];
	struct view view;
	(void)state;

	view_start(&view, 1);
	for (const char *key = "/qeb"; *key; key++)
		view_key(&view, &samples, *key);
	assert_false(view.quits);
	for (int i = 0; i < 3; i++)
		view_key(&view, &samples, KEY_TO_ERASE);
	view_key(&view, &samples, 'w');
	view_key(&view, &samples, KEY_TO_ENTER);
	assert_int_equal(view_services(&view, &samples, rows, 4), 1);
	assert_string_equal(rows[0]->name, "web");
	view_key(&view, &samples, KEY_TO_BACK);
	assert_int_equal(view_services(&view, &samples, rows, 4), 2);
	samples_free(&samples);
}

static void enter_goes_in_and_escape_comes_back(void **state)
{
	struct samples samples = two_samples();
	const json_t *rows[4];
	struct view view;
	(void)state;

	view_start(&view, 1);
	view_key(&view, &samples, KEY_TO_ENTER);
	assert_int_equal(view.page, PAGE_SERVICE);
	assert_string_equal(view.service, "dns");
	assert_int_equal(view_users(&view, &samples, rows, 4), 1);
	view_key(&view, &samples, KEY_TO_ENTER);
	assert_int_equal(view.page, PAGE_USER);
	assert_string_equal(view.user, "10.0.0.1");
	view_key(&view, &samples, KEY_TO_BACK);
	assert_int_equal(view.page, PAGE_SERVICE);
	view_key(&view, &samples, KEY_TO_BACK);
	assert_int_equal(view.page, PAGE_ALL);
	view_key(&view, &samples, KEY_TO_NEXT);
	view_key(&view, &samples, KEY_TO_LAST);
	view_key(&view, &samples, KEY_TO_ENTER);
	assert_string_equal(view.user, "10.0.0.2");
	samples_free(&samples);
}

static void the_cursor_stays_within_the_rows(void **state)
{
	struct samples samples = two_samples();
	struct view view;
	(void)state;

	view_start(&view, 1);
	view_key(&view, &samples, KEY_TO_UP);
	assert_int_equal(view.cursor, 0);
	for (int i = 0; i < 5; i++)
		view_key(&view, &samples, KEY_TO_DOWN);
	assert_int_equal(view.cursor, 1);
	samples_free(&samples);
	view_key(&view, &samples, KEY_TO_PAGE_DOWN); /* of nothing at all */
	assert_int_equal(view.cursor, 0);
	view_key(&view, &samples, KEY_TO_ENTER);
	assert_int_equal(view.page, PAGE_ALL);
}

static void the_headline_names_service_user_and_excess(void **state)
{
	struct samples samples = two_samples();
	char text[200], few[8];
	(void)state;

	view_headline(&samples, text, sizeof(text));
	assert_string_equal(text, "dns spills 400/s (80 %, user_limit); 10.0.0.1 sends 500/s, 5.0 x its limit");
	view_headline(&samples, few, sizeof(few));
	assert_string_equal(few, "dns spi");
	assert_int_equal(samples_take(&samples, status(13, 1200, 2000, 800), users()), 0);
	view_headline(&samples, text, sizeof(text));
	assert_string_equal(text, "");
	samples_free(&samples);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rates_are_differences_over_the_daemons_own_time),
		cmocka_unit_test(a_daemon_that_began_anew_has_no_rates_yet),
		cmocka_unit_test(nonsense_changes_nothing),
		cmocka_unit_test(services_come_in_the_order_that_is_asked_for),
		cmocka_unit_test(a_filter_is_text_until_enter),
		cmocka_unit_test(enter_goes_in_and_escape_comes_back),
		cmocka_unit_test(the_cursor_stays_within_the_rows),
		cmocka_unit_test(the_headline_names_service_user_and_excess),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
