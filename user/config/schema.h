/* SPDX-License-Identifier: GPL-2.0-only */
/* Mappings read by a table of their keys, and the scalars in them: private to config/. Every reader adds its faults and
 * goes on, so that one pass finds all of them. Knows no key by name. */
#pragma once

#include <yaml.h>

#include "config/config.h"

/* One pass over one document. Borrows all it points to. */
struct reading {
	yaml_document_t *document;
	struct config_faults *faults;
	const char *directory; /* that file names are relative to; NULL: the working directory */
	const struct config_opener *opener;
};

/* A key of a mapping. Without `read` it is known but belongs to a later version. */
struct schema_key {
	const char *name;
	void (*read)(struct reading *reading, const yaml_node_t *node, void *target);
	bool required;
};

/* A mapping's keys (at most 32, ended by an empty one) and its name in faults: "a service". */
struct schema {
	const char *noun;
	const struct schema_key *keys;
};

/* A word that a scalar may be, and its value; negative for words of a later version. */
struct schema_word {
	const char *name;
	int value;
};

struct config_mark mark_of(const yaml_node_t *node);

/* Reads a mapping: each known key by its reader into `target`; unknown, repeated, later and missing keys are faults. */
void schema_read(struct reading *reading, const yaml_node_t *node, const struct schema *schema, void *target);

/* The text of a scalar that is not null; or NULL after adding the fault. Lives as long as the document. */
const char *schema_read_text(struct reading *reading, const yaml_node_t *node, const char *expected);

bool schema_is_null(const yaml_node_t *node);

/* The readers below return whether `*out` was written; if not they have added a fault. */
bool schema_read_word(struct reading *reading, const yaml_node_t *node, const struct schema_word *words, int *out);
bool schema_read_number(struct reading *reading, const yaml_node_t *node, double least, double most, double *out);
bool schema_read_bytes(struct reading *reading, const yaml_node_t *node, double least, double most, double *out);
bool schema_read_duration(struct reading *reading, const yaml_node_t *node, double least_s, double most_s,
                          double *out_s);
bool schema_read_whole(struct reading *reading, const yaml_node_t *node, unsigned least, unsigned most, unsigned *out);

/* The nodes of a list of at most `most` entries: returns how many to read, 0 after a fault. `noun` as "ports". */
size_t schema_list_count(struct reading *reading, const yaml_node_t *node, size_t most, const char *noun);
const yaml_node_t *schema_list_entry(struct reading *reading, const yaml_node_t *node, size_t index);
