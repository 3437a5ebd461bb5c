/* SPDX-License-Identifier: GPL-2.0-only */
/* What cppcheck has to know of macros in system headers, which it does not read. Included before every file. */
#define LIBBPF_OPTS(type, name, ...) struct type name = {__VA_ARGS__}
#define TAILQ_HEAD(name, type)          \
	struct name {                   \
		struct type *tqh_first; \
	}
#define TAILQ_ENTRY(type)              \
	struct {                       \
		struct type *tqe_next; \
	}
