/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <glib.h>

#define LAYOUT_MAX_BLOCKS 4096u
#define LAYOUT_MAX_NAME   255u
#define LAYOUT_MIN_PAGE   4096u
#define LAYOUT_MIN_HUGE   (2u << 20)
#define LAYOUT_MAX_HUGE   (1u << 30)

typedef enum {
    MEMORY_ANONYMOUS,
    MEMORY_SHMEM,
    MEMORY_HUGETLB,
    MEMORY_FILE,
    MEMORY_KIND_COUNT_,
} MemoryKind;

typedef struct {
    char *name;
    guint64 address; /* in the VMM's address space */
    guint64 size;
    guint64 page_size;
    MemoryKind kind;
    gboolean shared;
    gboolean split; /* huge pages may have been replaced by base pages */
} RamBlock;

typedef struct {
    GArray *blocks;      /* RamBlock, in the order of the VMM */
    GHashTable *by_name; /* of a block to its index; keys belong to the blocks */
} Layout;

Layout *layout_new(void);
void layout_free(Layout *layout);
gboolean layout_add(Layout *layout, const char *name, const RamBlock *block, GError **error);
guint layout_count(const Layout *layout);
const RamBlock *layout_block(const Layout *layout, guint index);
int layout_find(const Layout *layout, const char *name);
gboolean layout_check_disjoint(const Layout *layout, GError **error);
void ram_block_copy(RamBlock *to, const RamBlock *from);
void ram_block_clear(RamBlock *block);
guint64 ram_block_unit(const RamBlock *block);

guint64 layout_base_page(void);
const char *memory_kind_name(MemoryKind kind);
gboolean memory_kind_from_name(const char *name, MemoryKind *ret_kind);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(Layout, layout_free)
G_DEFINE_AUTO_CLEANUP_CLEAR_FUNC(RamBlock, ram_block_clear)
