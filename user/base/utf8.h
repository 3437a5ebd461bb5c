/* SPDX-License-Identifier: GPL-2.0-only */
/* Texts that leave as JSON or for the log are UTF-8 (RFC 3629); what was quoted in them, or cut, may not be. */
#pragma once

/* Overwrites each byte that belongs to no whole character of UTF-8 with '?', in place. */
void utf8_mend(char *text);
