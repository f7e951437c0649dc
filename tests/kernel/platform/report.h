/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is said about a behaviour, for people and for machines. */
#pragma once

#include <stddef.h>

#include "platform.h"

enum format { TEXT, TAP, JSON };

enum verdict {
    GOOD,
    NOT_HERE, /* it takes our series, which this kernel was not said to have */
    BAD,
    SKIPPED,
};

/* The name of a behaviour as it is shown: with '-' for '_'. Lives until the next call. */
const char *shown_name(const struct behaviour *behaviour);

/* Says how many there will be, if the format wants to know. */
void report_plan(enum format format, size_t count);

/* Looks at a behaviour, and prints a line. */
enum verdict report(const struct behaviour *behaviour, enum format format);
