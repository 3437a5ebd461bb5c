/* SPDX-License-Identifier: GPL-2.0-only */
/* Two processes in place of one: the daemon, which listens, parses and decides, and beside it a small one that has the
 * capabilities and does a closed list of things for the daemon: a keeper's orders (datapath/keeper.h), opening the
 * configuration and the files beside it, looking up a group. They speak through a pair of sockets that nobody else has;
 * each ends when the other is gone. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "base/cleanup.h"
#include "base/error.h"
#include "datapath/datapath.h"

struct broker;

/* Forks: returns in the daemon, never in the other process. Before any thread is made. `config_path` (NULL: none) and
 * `pins` are all that the privileged process will ever open and change, whatever it is asked later. */
int broker_start(struct broker **out, const char *config_path, const char *pins, struct error *err);

/* Lets it end, and waits until it has. */
void broker_free(struct broker *broker);

/* The configuration (NULL), or a file that it names, which must lie in the directory of the configuration or below.
 * Returns a descriptor to read, owned by the caller, or -errno: -EXDEV where it lies elsewhere. */
int broker_open(struct broker *broker, const char *path);

/* The group of that name, or of that number. Returns 0, or -ENOENT where there is none. */
int broker_group(struct broker *broker, const char *name, gid_t *out);

/* The keeper at the other end. */
struct datapath_keeper broker_keeper(struct broker *broker);

/* Readable only when the other process is gone. */
int broker_descriptor(const struct broker *broker);
pid_t broker_process(const struct broker *broker);

DEFINE_CLEANUP(struct broker, broker_free)
