/* SPDX-License-Identifier: GPL-2.0-only */
/* The two ways in: HTTP on the UNIX socket, for everything; HTTP over TCP, for reading only. */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

struct daemon;
struct server;

struct config_listen;
struct evhttp_bound_socket;
struct feed;

int server_new(struct server **out, struct daemon *daemon, struct error *err);
void server_free(struct server *server);

/* Moving to another TCP address is in two steps, so that a reload is all or nothing: server_open() listens there beside
 * the present address (`*out` is NULL where `listen_on` is off), then server_settle() lets go of the present one, or
 * server_abandon() of the new one. Requests under way are answered. */
int server_open(struct server *server, const struct config_listen *listen_on, struct evhttp_bound_socket **out,
                struct error *err);
void server_settle(struct server *server, const struct config_listen *listen_on, struct evhttp_bound_socket *opened);
void server_abandon(struct server *server, struct evhttp_bound_socket *opened);

/* Who may use the control socket from now on. */
struct peers;
void server_admit(struct server *server, const struct peers *peers);

/* The readers of events on both. */
const struct feed *server_feed(const struct server *server);

DEFINE_CLEANUP(struct server, server_free)
