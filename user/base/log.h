/* SPDX-License-Identifier: GPL-2.0-only */
/* The daemon's log: plain lines on standard error, each one thing and what to do about it. Under systemd a line opens
 * with its syslog priority (sd-daemon(3)), so that journald files it rightly; on a terminal it opens with its level. */
#pragma once

#include <syslog.h>

/* Writes one line at a syslog(3) priority. */
__attribute__((format(printf, 2, 3))) void log_line(int priority, const char *format, ...);

#define log_error(...)   log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
