/* SPDX-License-Identifier: GPL-2.0-only */
/* The live page at `/`: its files are in the program itself (user/page/), and it asks no other host for anything. */
#pragma once

struct evhttp;

void page_serve(struct evhttp *http);
