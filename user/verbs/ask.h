/* SPDX-License-Identifier: GPL-2.0-only */
/* Asks the daemon over its socket. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

/* GETs `path`, or POSTs `body` (borrowed) where it is not NULL. Returns EXIT_DONE with `*out` owned by the caller; or
 * the exit status of the verb, what went wrong having been said on standard error. */
int ask(const char *socket, const char *path, const json_t *body, json_t **out);

/* The same, but what went wrong is put into `err` and nothing printed. */
int ask_quietly(const char *socket, const char *path, const json_t *body, json_t **out, struct error *err);

/* Asks for a stream of events and calls `line` for each, as its JSON, until it returns false (EXIT_DONE) or the daemon
 * is gone (EXIT_NO_DAEMON); a refusal is EXIT_FAILED. What went wrong has been printed. */
typedef bool ask_line(const char *line, void *argument);
int ask_follow(const char *socket, const char *path, ask_line *line, void *argument);
