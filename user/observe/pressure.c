/* SPDX-License-Identifier: GPL-2.0-only */
#include "observe/pressure.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"

#define FILE_BYTES_MOST (1 << 20) /* of a file; a line of softnet_stat is a processor's */
#define ROUND_PACKETS   300       /* net.core.netdev_budget: so many at most are received in a round */

const char *const pressure_names[PRESSURES] = {
	[PRESSURE_CPU] = "cpu",         [PRESSURE_MEMORY] = "memory",   [PRESSURE_IO] = "io",
	[PRESSURE_SOFTIRQ] = "softirq", [PRESSURE_BACKLOG] = "backlog", [PRESSURE_SQUEEZE] = "squeeze",
};

const struct pressure_paths pressure_paths_of_host = {
	.cpu = "/proc/pressure/cpu",
	.memory = "/proc/pressure/memory",
	.io = "/proc/pressure/io",
	.stat = "/proc/stat",
	.softnet = "/proc/net/softnet_stat",
};

/* What has been counted since the host started. A resource's share is how much of `whole` went on, in the same time, as
 * `part`. */
struct pressure_count {
	double part, whole;
	bool known;
};

struct pressure {
	const struct pressure_paths *paths;
	struct pressure_count counts[PRESSURES];
	double shares[PRESSURES];
	double looked_s;
	bool looked, stalls;
};

int pressure_new(struct pressure **out, const struct pressure_paths *paths, struct error *err)
{
	struct pressure *pressure = calloc(1, sizeof(*pressure));
	if (!pressure)
		return error_set(err, -ENOMEM, "pressure: no memory");
	pressure->paths = paths ? paths : &pressure_paths_of_host;
	for (int resource = 0; resource < PRESSURES; resource++)
		pressure->shares[resource] = NAN;
	*out = pressure;
	return 0;
}

void pressure_free(struct pressure *pressure)
{
	free(pressure);
}

/* The whole file as text, for the caller to free; NULL where it cannot be read, is empty, or longer than it may be. */
static char *file_text(const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	_cleanup_free_ char *text = NULL;
	size_t length = 0, room = 0;

	while (fd >= 0 && length < FILE_BYTES_MOST) {
		if (length + 1 >= room) {
			room = room ? 2 * room : 4096;
			char *more = realloc(text, room);
			if (!more)
				return NULL;
			text = more;
		}
		ssize_t count = read(fd, text + length, room - length - 1);
		if (count < 0)
			return NULL;
		if (count == 0)
			break;
		length += (size_t)count;
	}
	if (!length || length >= FILE_BYTES_MOST)
		return NULL;
	text[length] = '\0';
	return TAKE_PTR(text);
}

/* The whole numbers that a text begins with, at most `most`, with blanks between them. Returns how many there are
 * before something else: a sign is something else, and so is what no counter of the kernel's can hold. */
static size_t read_numbers(const char *text, int base, size_t most, double *out)
{
	size_t count = 0;

	for (char *end; count < most; text = end) {
		text += strspn(text, " ");
		if (!isxdigit((unsigned char)*text))
			break;
		errno = 0;
		unsigned long long number = strtoull(text, &end, base);
		if (errno || end == text)
			break;
		out[count++] = (double)number;
	}
	return count;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=123456": the total is in microseconds
 * (Documentation/accounting/psi.rst). */
static struct pressure_count read_stall(const char *path, double now_s)
{
	_cleanup_free_ char *text = file_text(path);
	double total_us;

	if (!text || strncmp(text, "some ", strlen("some ")) != 0)
		return (struct pressure_count){0};
	text[strcspn(text, "\n")] = '\0';
	const char *total = strstr(text, " total=");
	bool known = total && read_numbers(total + strlen(" total="), 10, 1, &total_us) == 1;
	return (struct pressure_count){.part = known ? total_us / 1e6 : 0, .whole = now_s, .known = known};
}

/* Ticks of all processors: "cpu user nice system idle iowait irq softirq steal guest guest_nice" (proc(5)); the guests'
 * are in the users' already. */
static void read_stat(const char *path, bool has_stalls, struct pressure_count counts[PRESSURES])
{
	enum { USER, NICE, SYSTEM, IDLE, IOWAIT, IRQ, SOFTIRQ, STEAL, KINDS };
	_cleanup_free_ char *text = file_text(path);
	double ticks[KINDS] = {0}, whole = 0;

	if (!text || strncmp(text, "cpu ", strlen("cpu ")) != 0)
		return;
	text[strcspn(text, "\n")] = '\0';
	if (read_numbers(text + strlen("cpu "), 10, KINDS, ticks) <= SOFTIRQ)
		return;
	for (int kind = 0; kind < KINDS; kind++)
		whole += ticks[kind];
	counts[PRESSURE_SOFTIRQ] = (struct pressure_count){ticks[SOFTIRQ], whole, true};
	if (has_stalls)
		return;
	counts[PRESSURE_CPU] = (struct pressure_count){whole - ticks[IDLE] - ticks[IOWAIT], whole, true};
	counts[PRESSURE_IO] = (struct pressure_count){ticks[IOWAIT], whole, true};
}

/* A line a processor, hexadecimal: packets received, dropped, rounds that had to stop with work left. */
static void read_softnet(const char *path, struct pressure_count counts[PRESSURES])
{
	enum { RECEIVED, DROPPED, STOPPED, KINDS };
	_cleanup_free_ char *text = file_text(path);
	double of[KINDS], sums[KINDS] = {0};
	char *rest = text;

	for (char *line = text ? strsep(&rest, "\n") : NULL; line; line = strsep(&rest, "\n")) {
		if (!*line)
			continue;
		if (read_numbers(line, 16, KINDS, of) < KINDS)
			return;
		for (int kind = 0; kind < KINDS; kind++)
			sums[kind] += of[kind];
	}
	if (!text)
		return;
	double whole = sums[RECEIVED] + sums[DROPPED];
	counts[PRESSURE_BACKLOG] = (struct pressure_count){sums[DROPPED], whole, true};
	counts[PRESSURE_SQUEEZE] = (struct pressure_count){sums[STOPPED] * ROUND_PACKETS, whole, true};
}

/* The share between two looks. A counter that has gone backwards has begun anew, or lies. */
static double share(const struct pressure_count *before, const struct pressure_count *now)
{
	double part = now->part - before->part, whole = now->whole - before->whole;

	if (!before->known || !now->known || part < 0 || whole < 0)
		return NAN;
	if (whole == 0) /* nothing could go on, and nothing did */
		return part > 0 ? 1 : 0;
	return fmin(part / whole, 1);
}

void pressure_look(struct pressure *pressure, double now_s)
{
	struct pressure_count counts[PRESSURES] = {0};
	const struct pressure_paths *paths = pressure->paths;

	if (pressure->looked && now_s <= pressure->looked_s)
		return;
	counts[PRESSURE_CPU] = read_stall(paths->cpu, now_s);
	counts[PRESSURE_MEMORY] = read_stall(paths->memory, now_s);
	counts[PRESSURE_IO] = read_stall(paths->io, now_s);
	bool stalls = counts[PRESSURE_CPU].known;
	read_stat(paths->stat, stalls, counts);
	read_softnet(paths->softnet, counts);
	for (int resource = 0; resource < PRESSURES; resource++) {
		bool comparable = pressure->looked && stalls == pressure->stalls;
		pressure->shares[resource] = comparable ? share(&pressure->counts[resource], &counts[resource]) : NAN;
		pressure->counts[resource] = counts[resource];
	}
	pressure->looked = true;
	pressure->looked_s = now_s;
	pressure->stalls = stalls;
}

double pressure_read(const struct pressure *pressure, enum pressure_resource resource)
{
	return pressure->shares[resource];
}

double pressure_most(const struct pressure *pressure)
{
	double most = 0;

	for (int resource = 0; resource < PRESSURES; resource++)
		if (resource != PRESSURE_SQUEEZE)
			most = fmax(most, pressure->shares[resource]); /* leaves NAN out */
	return most;
}

bool pressure_has_stalls(const struct pressure *pressure)
{
	return pressure->stalls;
}
