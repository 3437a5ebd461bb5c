/* SPDX-License-Identifier: GPL-2.0-only */
/* The list of services: read from the document, then checked against each other. Private to config/. */
#pragma once

#include "config/schema.h"

/* Where in the file the parts of a service are, and which of them were read without a fault. */
struct service_places {
	struct config_mark ports[CONFIG_PORTS_MAX];
	struct config_mark destinations[CONFIG_DESTINATIONS_MAX];
	struct config_mark ports_key;
	bool ports_given, mode_given, protocol_read;
	bool comparable; /* ports and destinations are whole and sound, so that an overlap is the file's own */
};

/* Whether it is a name: for services, and for all that is named likewise. */
bool service_name_is_sound(const char *name);

/* Reads `node` into config->services, and adds the faults that single services have. The mode of a service that has
 * none is left to the caller, who knows the file's own. Both arrays become the caller's. Returns 0 or -ENOMEM. */
int services_read(struct reading *reading, const yaml_node_t *node, struct config *config,
                  struct service_places **out_places);

/* Checks services of kind `tenant` against the tenants. */
void services_check_tenants(struct config_faults *faults, const struct config *config);

/* Checks all services against each other: names that repeat, packets that two of them would match. */
int services_check_names(struct config_faults *faults, const struct config *config);
int services_check_overlaps(struct config_faults *faults, const struct config *config,
                            const struct service_places *places);
