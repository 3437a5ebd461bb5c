/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of faults while a file is read: private to config/. Knows nothing of what is right or wrong. */
#pragma once

#include "config/config.h"

/* Adds one fault at its place: the list stays in the order of the places, and keeps the first CONFIG_FAULTS_MAX. Bytes
 * that are no printable ASCII become '?', because the words quote the file and end on terminals and in JSON. */
__attribute__((format(printf, 3, 4))) void faults_add(struct config_faults *faults, struct config_mark mark,
                                                      const char *format, ...);
