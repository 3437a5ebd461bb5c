/* SPDX-License-Identifier: GPL-2.0-only */
/* Errors for people: a negative errno for the program, a sentence for whoever has to act on it.
 * The sentence is built once, where the cause is known: what failed, on what, why, and what to do. */
#pragma once

/* Holds the words of one failure. Callers own it, usually on their stack; functions write it only when they fail. */
struct error {
	char text[1024];
};

/* Fills `err` from a printf format and returns `code`, so that a failure is one statement:
 * `return error_set(err, -ENOENT, "interface %s: not found: name one that 'ip link' shows", name);`
 * `code` is a negative errno. `err` may be NULL: then only the code travels. The words are UTF-8, whatever they quote:
 * what is none, or was cut, shows as '?'. */
__attribute__((format(printf, 3, 4))) int error_set(struct error *err, int code, const char *format, ...);

/* Puts a printf-formatted context and ": " before the words already in `err`, and returns `code`. */
__attribute__((format(printf, 3, 4))) int error_prefix(struct error *err, int code, const char *format, ...);
