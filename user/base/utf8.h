/* SPDX-License-Identifier: GPL-2.0-only */
/* Texts that leave as JSON, for the log or for a terminal are UTF-8 (RFC 3629) and steer nothing; what was quoted in
 * them, or cut, may be otherwise. */
#pragma once

/* Overwrites each byte with '?' that belongs to no whole character of UTF-8, or to a control character other than a
 * tab and a newline, in place. */
void utf8_mend(char *text);
