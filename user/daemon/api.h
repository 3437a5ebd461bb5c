/* SPDX-License-Identifier: GPL-2.0-only */
/* The documents that the daemon gives, and the one that it takes (README: "JSON"). Documents belong to the caller; NULL
 * with `err` set where a counter could not be read. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "base/prefix.h"

#define API_FOR_S_MOST (100.0 * 365 * 86400) /* what a verb says may hold */

struct daemon;
struct observed_user;

json_t *api_status(struct daemon *daemon, struct error *err);
json_t *api_services(struct daemon *daemon, struct error *err);

/* The `limit` heaviest users, of one service or (NULL) of all. */
json_t *api_users(struct daemon *daemon, const char *service, size_t limit, struct error *err);

/* {"service", "mode"?, "level"?, "capacity"?, "class"?, "for_seconds"?}. Returns 0, or -EINVAL with what is wrong. */
int api_set(struct daemon *daemon, const json_t *wish, struct error *err);

/* A time of day, RFC 3339 in UTC. */
json_t *api_time(int64_t time_s);

/* Whether every configured interface is attached. */
bool api_ready(const struct daemon *daemon);

/* The number of a service of that name, or -1. */
int api_service_number(const struct daemon *daemon, const char *name);

/* A user as people write one: its address, or the prefix that this was cut to; its tenant's name; the bytes of its
 * datagrams in hex; the number that its application has given it. `number` is the service's. */
#define API_USER_TEXT_MAX PREFIX_TEXT_MAX
void api_user_text(const struct daemon *daemon, unsigned number, const struct observed_user *user,
                   char out[API_USER_TEXT_MAX]);
