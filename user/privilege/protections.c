/* SPDX-License-Identifier: GPL-2.0-only */
#include "privilege/protections.h"

#include <stdarg.h>
#include <stdio.h>

const char *const protection_names[PROTECTIONS] = {
	[PROTECTION_SPLIT] = "privilege_separation",
	[PROTECTION_USER] = "unprivileged_user",
	[PROTECTION_CAPABILITIES] = "no_capabilities",
	[PROTECTION_NO_PRIVILEGES] = "no_new_privileges",
	[PROTECTION_SYSCALLS] = "seccomp",
	[PROTECTION_FILES] = "landlock",
};

__attribute__((format(printf, 4, 0))) static void note(struct protections *protections, enum protection which, bool on,
                                                       const char *format, va_list arguments)
{
	struct protection_state *state = &protections->states[which];

	state->on = on;
	vsnprintf(state->text.text, sizeof(state->text.text), format, arguments);
}

void protection_is_on(struct protections *protections, enum protection which, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	note(protections, which, true, format, arguments);
	va_end(arguments);
}

void protection_is_off(struct protections *protections, enum protection which, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	note(protections, which, false, format, arguments);
	va_end(arguments);
}
