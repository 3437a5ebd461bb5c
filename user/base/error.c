/* SPDX-License-Identifier: GPL-2.0-only */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

int error_set(struct error *err, int code, const char *format, ...)
{
	if (!err)
		return code;

	va_list arguments;
	va_start(arguments, format);
	vsnprintf(err->text, sizeof(err->text), format, arguments);
	va_end(arguments);
	utf8_mend(err->text);
	return code;
}

int error_prefix(struct error *err, int code, const char *format, ...)
{
	if (!err)
		return code;

	struct error inner = *err;
	va_list arguments;
	va_start(arguments, format);
	int written = vsnprintf(err->text, sizeof(err->text), format, arguments);
	va_end(arguments);
	if (written >= 0 && (size_t)written < sizeof(err->text))
		snprintf(err->text + written, sizeof(err->text) - (size_t)written, ": %.*s",
		         (int)(sizeof(err->text) - (size_t)written - 3), inner.text);
	utf8_mend(err->text);
	return code;
}
