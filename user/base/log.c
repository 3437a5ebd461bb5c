/* SPDX-License-Identifier: GPL-2.0-only */
#define SD_JOURNAL_SUPPRESS_LOCATION /* which line of ours wrote it helps nobody who reads the log */
#include "base/log.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <time.h>
#include <unistd.h>

#include "base/log_limit.h"

#define JOURNAL_SOCKET "/run/systemd/journal/socket"
#define FIELDS_MAX     8
#define FIELD_BYTES    (LOG_TEXT_MAX + 128)

static const char *const level_names[] = {
	[LOG_ERR] = "error: ",
	[LOG_WARNING] = "warning: ",
	[LOG_NOTICE] = "",
	[LOG_INFO] = "",
};

static struct log_limit limit;

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* JOURNAL_STREAM names the device and inode that journald reads: it is inherited by those whose standard error has
 * since been led elsewhere, too (systemd.exec(5)). */
static bool to_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	char ours[64];
	struct stat file;

	if (!stream || fstat(STDERR_FILENO, &file) < 0)
		return false;
	snprintf(ours, sizeof(ours), "%llu:%llu", (unsigned long long)file.st_dev, (unsigned long long)file.st_ino);
	return strcmp(stream, ours) == 0;
}

static void add_field(char texts[FIELDS_MAX][FIELD_BYTES], struct iovec *iov, int *count, const char *name,
                      const char *value)
{
	if (*count == FIELDS_MAX)
		return;
	int size = snprintf(texts[*count], FIELD_BYTES, "%s=%s", name, value);
	size_t length = size < FIELD_BYTES ? (size_t)size : FIELD_BYTES - 1;
	iov[*count] = (struct iovec){texts[*count], length};
	(*count)++;
}

static bool write_journal(int priority, const struct log_field *fields, size_t count, const char *line)
{
	static char texts[FIELDS_MAX][FIELD_BYTES];
	struct iovec iov[FIELDS_MAX];
	char digit[4];
	int used = 0;

	snprintf(digit, sizeof(digit), "%d", priority & 7);
	add_field(texts, iov, &used, "MESSAGE", line);
	add_field(texts, iov, &used, "PRIORITY", digit);
	add_field(texts, iov, &used, "SYSLOG_IDENTIFIER", "spillway");
	for (size_t i = 0; i < count; i++)
		if (fields[i].value)
			add_field(texts, iov, &used, fields[i].name, fields[i].value);
	/* Without a journald it would succeed, and nobody had heard it. */
	return access(JOURNAL_SOCKET, F_OK) == 0 && sd_journal_sendv(iov, used) >= 0;
}

static void write_now(int priority, const struct log_field *fields, size_t count, const char *line)
{
	bool journal = to_journal();

	if (journal && write_journal(priority, fields, count, line))
		return;
	if (journal) /* its socket is not there: what it reads from standard error has a priority in front
	                (sd-daemon(3)) */
		fprintf(stderr, "<%d>%s\n", priority, line);
	else
		fprintf(stderr, "spillway: %s%s\n", level_names[priority] ? level_names[priority] : "", line);
}

void log_record(int priority, const char *topic, double every_s, const struct log_field *fields, size_t count,
                const char *line)
{
	if (log_limit_admits(&limit, priority, topic, every_s, line, now_s()))
		write_now(priority, fields, count, line);
}

void log_line(int priority, const char *format, ...)
{
	char line[LOG_TEXT_MAX];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);

	log_record(priority, NULL, 0, NULL, 0, line);
}

static void write_plain(int priority, const char *line)
{
	write_now(priority, NULL, 0, line);
}

void log_tick(void)
{
	log_limit_release(&limit, now_s(), write_plain);
}
