/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Range lists of poison requests
 *
 * All of a list is checked before any of it is done: a request that breaks a rule has no effect.
 * Values are any 64 bits that a VMM could write, so the checks never add two of them; the block's
 * own size and address are known to be sane (layout.c).
 */
#include "ranges.h"

#include "util/proto-error.h"

/**
 * ranges_from_le() - bring records from a memfd into host byte order
 * @ranges: the records, changed in place
 * @n: how many
 */
void ranges_from_le(Range *ranges, guint n)
{
    for (guint i = 0; i < n; i++) {
        ranges[i].offset = GUINT64_FROM_LE(ranges[i].offset);
        ranges[i].length = GUINT64_FROM_LE(ranges[i].length);
    }
}

static gboolean refuse(GError **error, ProtoError code, const char *what, guint index, const Range *range,
                       const char *fault, const RamBlock *block)
{
    g_set_error(error, PROTO_ERROR, (gint)code,
                "%s: range %u (offset 0x%" G_GINT64_MODIFIER "x, length 0x%" G_GINT64_MODIFIER
                "x) %s block '%s' (size 0x%" G_GINT64_MODIFIER "x, page_size %" G_GUINT64_FORMAT ")",
                what, index, range->offset, range->length, fault, block->name, block->size, block->page_size);
    return FALSE;
}

/**
 * range_check_one() - the rules for a range by itself
 * @range: any values
 * @index: of the range, for the message
 * @block: the block that it is to be in
 * @page_size: what it must be a multiple of
 * @what: the request, for the message
 * @error: PROTO_ERROR_RANGE_EMPTY, _UNALIGNED or _OUTSIDE_BLOCK
 */
gboolean range_check_one(const Range *range, guint index, const RamBlock *block, guint64 page_size,
                         const char *what, GError **error)
{
    if (range->length == 0)
        return refuse(error, PROTO_ERROR_RANGE_EMPTY, what, index, range, "is empty, in", block);
    if (((range->offset | range->length) & (page_size - 1)) != 0)
        return refuse(error, PROTO_ERROR_RANGE_UNALIGNED, what, index, range,
                      "is not a multiple of the pages of", block);
    if (range->offset > block->size || range->length > block->size - range->offset)
        return refuse(error, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, what, index, range, "is outside", block);
    return TRUE;
}

/* How many regions of 2^shift bytes does a range touch that the one before it did not? */
static guint64 new_regions(guint64 before, guint64 start, guint64 length, guint shift)
{
    guint64 first = start >> shift, last = (start + length - 1) >> shift;

    return last - first + (first != before >> shift);
}

/*
 * Most page tables that poisoning a range can need. Whole huge pages need none of the smallest, but it is only
 * the VMM that calls the block hugetlb, and the kernel makes the tables before it looks.
 */
static guint64 tables_of(const Range *range, const Range *before, const RamBlock *block)
{
    static const guint shifts[] = { 39, 30, 21 };
    guint64 last = before ? block->address + before->offset + before->length - 1 : G_MAXUINT64, tables = 0;

    for (guint i = 0; i < G_N_ELEMENTS(shifts); i++)
        tables += new_regions(last, block->address + range->offset, range->length, shifts[i]);
    return tables;
}

/**
 * ranges_check() - all rules for the list of a poison request
 * @ranges: any values
 * @n: how many
 * @block: the block of the request
 * @ret_pages: base pages in all ranges together
 * @ret_tables: regions of 2 MiB, 1 GiB and 512 GiB that they touch
 * @error: what range_check_one() raises, or PROTO_ERROR_RANGE_OVERLAP if two ranges overlap or are
 *         out of order
 */
gboolean ranges_check(const Range *ranges, guint n, const RamBlock *block, guint64 *ret_pages,
                      guint64 *ret_tables, GError **error)
{
    guint64 bytes = 0, end = 0, tables = 0;

    for (guint i = 0; i < n; i++) {
        if (!range_check_one(&ranges[i], i, block, ram_block_unit(block), "poison", error))
            return FALSE;
        if (ranges[i].offset < end)
            return refuse(error, PROTO_ERROR_RANGE_OVERLAP, "poison", i, &ranges[i],
                          "begins before the end of the one before it, in", block);
        end = ranges[i].offset + ranges[i].length;
        bytes += ranges[i].length;
        tables += tables_of(&ranges[i], i > 0 ? &ranges[i - 1] : NULL, block);
    }
    *ret_pages = bytes / layout_base_page();
    *ret_tables = tables;
    return TRUE;
}
