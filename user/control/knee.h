/* SPDX-License-Identifier: GPL-2.0-only */
/* The law that Spillway goes by in an overload. How it was chosen is in ARCHITECTURE.md. */
#pragma once

#include "control/capacity.h"

/* Beyond some times its target the response says that a queue stands: the capacity is cut each step, and what the
 * service gets done while it has a backlog is its knee. Once the queue is drained the capacity goes straight back to
 * just below the knee (as CUBIC does, RFC 9438 section 4), and from there on slowly after the response of the last
 * second or so: up the faster, the longer nothing was wrong. A response that varies by chance moves it by a percent. */
capacity_law capacity_law_knee;
