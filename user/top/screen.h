/* SPDX-License-Identifier: GPL-2.0-only */
/* The live view's terminal (ncursesw): puts a view of samples on it, reads keys from it, and gives it back as it was.
 */
#pragma once

#include "top/samples.h"
#include "top/view.h"

/* Takes the terminal over. Returns 0, or -ENOTTY where it cannot do what is asked of it. */
int screen_open(void);
void screen_close(void);

/* Draws everything anew; ncurses sends what has changed. `trouble` is said where the headline is: NULL for none. */
void screen_draw(struct view *view, const struct samples *samples, const char *trouble);

/* Waits for a key for at most so long. Returns a character, one of enum view_key, or 0 where none came. */
int screen_key(int wait_ms);
