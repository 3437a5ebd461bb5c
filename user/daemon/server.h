/* SPDX-License-Identifier: GPL-2.0-only */
/* The two ways in: HTTP on the UNIX socket, for everything; HTTP over TCP, for reading only. */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

struct daemon;
struct server;

int server_new(struct server **out, struct daemon *daemon, struct error *err);
void server_free(struct server *server);

DEFINE_CLEANUP(struct server, server_free)
