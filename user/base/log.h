/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon's log: each line one thing and what to do about it. To journald with fields where standard error leads
 * there (sd_journal_send(3)), else plain lines on standard error. What is said again and again is held back and counted
 * (base/log_limit.h). */
#pragma once

#include <stddef.h>
#include <syslog.h>

/* "SPILLWAY_EVENT" and "reload": names as journald wants them, of capital letters, digits and underscores. */
struct log_field {
	const char *name, *value;
};

/* Writes one line at a syslog(3) priority. */
__attribute__((format(printf, 2, 3))) void log_line(int priority, const char *format, ...);

/* The same with fields for journald. `topic`: what the line is about; lines of a topic are written once in `every_s`
 * seconds, the newest when that is over. NULL: the line itself. */
void log_record(int priority, const char *topic, double every_s, const struct log_field *fields, size_t count,
                const char *line);

/* Writes what has been held back for long enough: to be called about each second. */
void log_tick(void);

#define log_error(...)   log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
