/* SPDX-License-Identifier: GPL-2.0-only */
/* The live page at `/`: its files are in the program itself (user/page/), and it asks no other host for anything. */
#pragma once

#include <stdbool.h>

struct evhttp_request;

/* Answers where `path` is one of the page's files; else returns false. */
bool page_serve(struct evhttp_request *request, const char *path);
