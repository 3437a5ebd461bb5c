/* SPDX-License-Identifier: GPL-2.0-only */
#include "verbs/prefix_file.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define BLANKS " \t\r\n"

struct prefixes {
	struct prefix *list; /* owned */
	size_t count, room;
};

static void prefixes_release(struct prefixes *prefixes)
{
	free(prefixes->list);
}

static int prefixes_add(struct prefixes *prefixes, const struct prefix *prefix)
{
	if (prefixes->count == prefixes->room) {
		size_t room = prefixes->room ? 2 * prefixes->room : 64;
		struct prefix *grown = reallocarray(prefixes->list, room, sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		prefixes->list = grown;
		prefixes->room = room;
	}
	prefixes->list[prefixes->count++] = *prefix;
	return 0;
}

/* What a line says, cut out of it; NULL where it says nothing. */
static char *line_word(char *line)
{
	line[strcspn(line, "#")] = '\0';
	line += strspn(line, BLANKS);
	size_t length = strlen(line);
	while (length && strchr(BLANKS, line[length - 1]))
		line[--length] = '\0';
	return length ? line : NULL;
}

static int read_lines(FILE *stream, const char *path, struct prefixes *prefixes, struct error *err)
{
	_cleanup_free_ char *line = NULL;
	size_t room = 0, number = 0;

	for (ssize_t length; (length = getline(&line, &room, stream)) >= 0;) {
		struct prefix prefix;
		number++;
		if (strlen(line) != (size_t)length)
			return error_set(err, -EINVAL, "%s:%zu: a zero byte: this is no text", path, number);
		char *word = line_word(line);
		if (!word)
			continue;
		int failure = prefix_parse(word, &prefix, err);
		if (failure)
			return error_prefix(err, failure, "%s:%zu", path, number);
		if (prefixes->count == PREFIX_FILE_MOST)
			return error_set(err, -EFBIG, "%s:%zu: more than %d prefixes: split the file", path, number,
			                 PREFIX_FILE_MOST);
		if (prefixes_add(prefixes, &prefix) < 0)
			return error_set(err, -ENOMEM, "%s:%zu: no memory for more", path, number);
	}
	return ferror(stream) ? error_set(err, -EIO, "%s: cannot read: %s", path, strerror(errno)) : 0;
}

int prefix_file_read(const char *path, struct prefix **out, size_t *out_count, struct error *err)
{
	_cleanup_(prefixes_release) struct prefixes prefixes = {0};
	_cleanup_fclose_ FILE *stream = fopen(path, "re");

	if (!stream)
		return error_set(err, -errno, "%s: cannot read: %s", path, strerror(errno));
	int failure = read_lines(stream, path, &prefixes, err);
	if (failure)
		return failure;
	if (!prefixes.count)
		return error_set(err, -EINVAL, "%s: no prefix in it: expected one a line", path);
	*out = TAKE_PTR(prefixes.list);
	*out_count = prefixes.count;
	return 0;
}
