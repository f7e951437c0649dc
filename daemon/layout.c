/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The RAM blocks of a guest, as its VMM describes them
 *
 * A layout is what every later request is measured against: a range may be poisoned only if it lies
 * in a block, on the block's page boundaries, and if policy allows the block's kind. It cannot be
 * verified against the VMM's memory, and need not be: addresses mean something only together with a
 * userfaultfd of that same memory, so a VMM that lies about its layout harms nobody but itself, as long
 * as nothing that others share is counted by what it says (ranges.c, ledger.c). What must hold is that no
 * arithmetic on it can overflow (all values stay below 2^63, ends included), and that names and addresses
 * are unambiguous.
 */
#include "layout.h"

#include <string.h>
#include <unistd.h>

#include "util/proto-error.h"

static const char *const kind_names[] = {
    [MEMORY_ANONYMOUS] = "anonymous",
    [MEMORY_SHMEM] = "shmem",
    [MEMORY_HUGETLB] = "hugetlb",
    [MEMORY_FILE] = "file",
};
G_STATIC_ASSERT(G_N_ELEMENTS(kind_names) == MEMORY_KIND_COUNT_);

/**
 * memory_kind_name() - the protocol's word for a kind of memory
 * @kind: the kind
 */
const char *memory_kind_name(MemoryKind kind)
{
    return kind_names[kind];
}

/**
 * memory_kind_from_name() - the kind of memory of a word
 * @name: the word
 * @ret_kind: where to put it
 */
gboolean memory_kind_from_name(const char *name, MemoryKind *ret_kind)
{
    for (guint i = 0; i < MEMORY_KIND_COUNT_; i++) {
        if (strcmp(kind_names[i], name) == 0) {
            *ret_kind = (MemoryKind)i;
            return TRUE;
        }
    }
    return FALSE;
}

/**
 * ram_block_copy() - copy a block, its name included
 * @to: the copy, to be freed with ram_block_clear()
 * @from: the block
 */
void ram_block_copy(RamBlock *to, const RamBlock *from)
{
    *to = *from;
    to->name = g_strdup(from->name);
}

/**
 * ram_block_clear() - free what a block holds
 * @block: the block
 */
void ram_block_clear(RamBlock *block)
{
    g_clear_pointer(&block->name, g_free);
}

/*
 * g_str_hash() is known to all: with names made to collide, a layout would cost a time that is square in its
 * blocks. This one (polynomial, with a random odd factor, of which the upper half is used) can be attacked
 * only by who knows the factor, or with names longer than there are.
 */
static guint hash_name(gconstpointer name)
{
    static guint64 factor;
    guint64 hash = 0;

    if (factor == 0)
        factor = (guint64)g_random_int() << 32 | g_random_int() | 1;
    for (const guchar *p = name; *p; p++)
        hash = (hash + *p + 1) * factor;
    return (guint)(hash >> 32);
}

/**
 * layout_new() - a layout without blocks
 *
 * Return: to be freed with layout_free().
 */
Layout *layout_new(void)
{
    Layout *layout = g_new0(Layout, 1);

    layout->blocks = g_array_new(FALSE, TRUE, sizeof(RamBlock));
    g_array_set_clear_func(layout->blocks, (GDestroyNotify)ram_block_clear);
    layout->by_name = g_hash_table_new(hash_name, g_str_equal);
    return layout;
}

/**
 * layout_free() - free a layout and its blocks
 * @layout: the layout, or NULL
 */
void layout_free(Layout *layout)
{
    if (!layout)
        return;
    g_hash_table_unref(layout->by_name);
    g_array_unref(layout->blocks);
    g_free(layout);
}

/**
 * layout_count() - number of blocks
 * @layout: the layout
 */
guint layout_count(const Layout *layout)
{
    return layout->blocks->len;
}

/**
 * layout_block() - one block
 * @layout: the layout
 * @index: below layout_count()
 */
const RamBlock *layout_block(const Layout *layout, guint index)
{
    return &g_array_index(layout->blocks, RamBlock, index);
}

/**
 * layout_find() - the block of a name
 * @layout: the layout, or NULL
 * @name: the name
 *
 * Return: its index, or -1.
 */
int layout_find(const Layout *layout, const char *name)
{
    gpointer index;

    if (!layout || !g_hash_table_lookup_extended(layout->by_name, name, NULL, &index))
        return -1;
    return GPOINTER_TO_INT(index);
}

static gboolean G_GNUC_PRINTF(3, 4) refuse(GError **error, const RamBlock *block, const char *format, ...)
{
    g_autofree char *fault = NULL;
    va_list args;

    va_start(args, format);
    fault = g_strdup_vprintf(format, args);
    va_end(args);
    g_set_error(error, PROTO_ERROR, PROTO_ERROR_BAD_LAYOUT, "layout: block '%s': %s", block->name, fault);
    return FALSE;
}

/**
 * ram_block_unit() - what can be poisoned in a block without the rest: its smallest page
 * @block: the block
 */
guint64 ram_block_unit(const RamBlock *block)
{
    return block->split ? layout_base_page() : block->page_size;
}

/**
 * layout_base_page() - the host's page size, which is that of all memory but hugetlb
 */
guint64 layout_base_page(void)
{
    return (guint64)sysconf(_SC_PAGESIZE);
}

static gboolean is_page_size(const RamBlock *block)
{
    if (block->kind != MEMORY_HUGETLB)
        return block->page_size == layout_base_page();
    return block->page_size >= LAYOUT_MIN_HUGE && block->page_size <= LAYOUT_MAX_HUGE &&
           (block->page_size & (block->page_size - 1)) == 0;
}

static gboolean check_block(const RamBlock *block, GError **error)
{
    guint64 mask = block->page_size - 1;

    if (strlen(block->name) < 1 || strlen(block->name) > LAYOUT_MAX_NAME)
        return refuse(error, block, "its name is not of 1 to %u bytes", LAYOUT_MAX_NAME);
    if (!is_page_size(block))
        return refuse(error, block, "page_size %" G_GUINT64_FORMAT " is not that of memory of kind %s",
                      block->page_size, memory_kind_name(block->kind));
    if (block->split && (block->kind != MEMORY_HUGETLB || block->shared))
        return refuse(error, block, "split is for private memory of kind hugetlb");
    if (block->size == 0 || (block->size & mask) != 0)
        return refuse(error, block, "size 0x%" G_GINT64_MODIFIER "x is not a multiple of page_size",
                      block->size);
    if ((block->address & mask) != 0)
        return refuse(error, block, "host_virt_addr 0x%" G_GINT64_MODIFIER "x is not a multiple of page_size",
                      block->address);
    if (block->address > G_MAXINT64 || block->size > G_MAXINT64 - block->address)
        return refuse(error, block, "it ends beyond 2^63 - 1");
    return TRUE;
}

static int by_address(gconstpointer a, gconstpointer b)
{
    const RamBlock *x = *(const RamBlock *const *)a, *y = *(const RamBlock *const *)b;

    return (x->address > y->address) - (x->address < y->address);
}

/**
 * layout_add() - append a block to a layout
 * @layout: the layout
 * @name: the block's name
 * @block: everything else about the block; nothing of it is known to be sane
 * @error: PROTO_ERROR_BAD_LAYOUT, naming the block
 *
 * Checks all but the address range against those of other blocks.
 */
gboolean layout_add(Layout *layout, const char *name, const RamBlock *block, GError **error)
{
    g_auto(RamBlock) added = *block;

    added.name = g_strdup(name);
    if (!check_block(&added, error))
        return FALSE;
    if (layout_count(layout) == LAYOUT_MAX_BLOCKS)
        return refuse(error, &added, "one more than %u", LAYOUT_MAX_BLOCKS);
    if (layout_find(layout, name) >= 0)
        return refuse(error, &added, "another block has this name");
    g_hash_table_insert(layout->by_name, added.name, GUINT_TO_POINTER(layout_count(layout)));
    g_array_append_val(layout->blocks, added);
    added.name = NULL;
    return TRUE;
}

/**
 * layout_check_disjoint() - do no two blocks share an address?
 * @layout: a layout with all its blocks
 * @error: PROTO_ERROR_BAD_LAYOUT, naming the blocks
 */
gboolean layout_check_disjoint(const Layout *layout, GError **error)
{
    g_autoptr(GPtrArray) sorted = g_ptr_array_sized_new(layout_count(layout));

    for (guint i = 0; i < layout_count(layout); i++)
        g_ptr_array_add(sorted, (gpointer)layout_block(layout, i));
    g_ptr_array_sort(sorted, by_address);
    for (guint i = 1; i < sorted->len; i++) {
        const RamBlock *before = sorted->pdata[i - 1], *block = sorted->pdata[i];

        if (block->address - before->address < before->size)
            return refuse(error, block, "its addresses overlap those of block '%s'", before->name);
    }
    return TRUE;
}
