/* SPDX-License-Identifier: GPL-2.0-only */
#include "config/faults.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static bool mark_before(struct config_mark a, struct config_mark b)
{
	return a.line != b.line ? a.line < b.line : a.column < b.column;
}

static void make_printable(char *text)
{
	for (; *text; text++) {
		if (*text < ' ' || *text > '~')
			*text = '?';
	}
}

void faults_add(struct config_faults *faults, struct config_mark mark, const char *format, ...)
{
	size_t kept = faults->count < CONFIG_FAULTS_MAX ? faults->count : CONFIG_FAULTS_MAX;
	size_t at = kept;

	faults->count++;
	while (at > 0 && mark_before(mark, faults->faults[at - 1].mark))
		at--;
	if (at == CONFIG_FAULTS_MAX)
		return;
	if (kept == CONFIG_FAULTS_MAX)
		kept--;
	memmove(&faults->faults[at + 1], &faults->faults[at], (kept - at) * sizeof(faults->faults[0]));

	struct config_fault *fault = &faults->faults[at];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(fault->text, sizeof(fault->text), format, arguments);
	va_end(arguments);
	make_printable(fault->text);
	fault->mark = mark;
}

void config_fault_format(const char *path, const struct config_fault *fault, char *out, size_t size)
{
	if (fault->mark.line == 0)
		snprintf(out, size, "%s: %s", path, fault->text);
	else
		snprintf(out, size, "%s:%u:%u: %s", path, fault->mark.line, fault->mark.column, fault->text);
}
