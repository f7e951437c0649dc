/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "layout.h"

#define RANGES_MAX 65536u

/* As in the memfd of a poison request, in host byte order. */
typedef struct {
    guint64 offset;
    guint64 length;
} Range;

void ranges_from_le(Range *ranges, guint n);
gboolean ranges_check(const Range *ranges, guint n, const RamBlock *block, guint64 *ret_pages,
                      guint64 *ret_tables, GError **error);
gboolean range_check_one(const Range *range, guint index, const RamBlock *block, guint64 page_size,
                         const char *what, GError **error);
