/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#include "layout.h"

typedef struct {
    guint64 max_pages_per_guest;
    guint memory_kinds; /* bit per MemoryKind */
} Policy;

#define POLICY_DEFAULT                                                                                       \
    ((Policy){ .max_pages_per_guest = 1048576,                                                               \
               .memory_kinds = 1u << MEMORY_ANONYMOUS | 1u << MEMORY_SHMEM | 1u << MEMORY_HUGETLB })

gboolean policy_check_pages(const Policy *policy, guint64 held, guint64 wanted, GError **error);
gboolean policy_check_kind(const Policy *policy, const RamBlock *block, GError **error);
