/* SPDX-License-Identifier: GPL-2.0-only */
/* Keeps the program on the configured interfaces while they come, go and change their names: told by rtnetlink. */
#pragma once

#include "base/cleanup.h"
#include "base/error.h"

struct daemon;
struct interfaces_watch;

int interfaces_watch_new(struct interfaces_watch **out, struct daemon *daemon, struct error *err);
void interfaces_watch_free(struct interfaces_watch *watch);

DEFINE_CLEANUP(struct interfaces_watch, interfaces_watch_free)
