/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "layout.h"

#define POISON_SET_MAX_RANGES 262144u /* of one guest: 8 MiB */
#define POISON_NO_GPA         G_MAXUINT64

typedef enum {
    ORIGIN_HOST,
    ORIGIN_MIGRATED,
    ORIGIN_INJECTED,
    ORIGIN_COUNT_,
} PoisonOrigin;

typedef struct {
    guint64 offset; /* in the block */
    guint64 length;
    guint64 gpa;   /* or POISON_NO_GPA */
    guint16 block; /* index in the guest's layout */
    guint8 origin; /* PoisonOrigin */
} PoisonRange;

/* Sorted by block and offset, without overlaps, neighbours joined. */
typedef GArray PoisonSet;

PoisonSet *poison_set_new(void);
int poison_set_add(PoisonSet *set, GArray *ranges);
PoisonSet *poison_set_move(const PoisonSet *set, const Layout *from, const Layout *to);
guint64 poison_set_bytes(const PoisonSet *set);
guint64 poison_set_pages(const PoisonSet *set, const Layout *layout);
const PoisonRange *poison_set_range(const PoisonSet *set, guint index);

const char *poison_origin_name(PoisonOrigin origin);
gboolean poison_origin_from_name(const char *name, PoisonOrigin *ret_origin);
