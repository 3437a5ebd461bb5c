/* SPDX-License-Identifier: GPL-2.0-only */
/* Asks the daemon over its socket. */
#pragma once

#include <jansson.h>

/* GETs `path`, or POSTs `body` (borrowed) where it is not NULL. Returns EXIT_DONE with `*out` owned by the caller; or
 * the exit status of the verb, what went wrong having been said on standard error. */
int ask(const char *socket, const char *path, const json_t *body, json_t **out);
