/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The poison set of a guest, as its VMM reports it
 *
 * Kept for the inventory only: for an operator who asks, never for a decision of a migration. A
 * guest can have a hundred thousand ranges, so a range is 32 bytes in one sorted array (its block an
 * index into the layout), ranges that continue each other are one, and a guest may have at most
 * POISON_SET_MAX_RANGES of them.
 *
 * Messages bring at most 4,096 ranges, in any order and perhaps overlapping what is known. They are
 * sorted and merged into the set in one pass, or just appended if they come in order, so that a set
 * that is told in many messages costs no more than a copy for each.
 */
#include "poison-set.h"

#include <errno.h>
#include <string.h>

G_STATIC_ASSERT(sizeof(PoisonRange) == 32);
G_STATIC_ASSERT(LAYOUT_MAX_BLOCKS <= G_MAXUINT16);

static const char *const origin_names[] = {
    [ORIGIN_HOST] = "host",
    [ORIGIN_MIGRATED] = "migrated",
    [ORIGIN_INJECTED] = "injected",
};
G_STATIC_ASSERT(G_N_ELEMENTS(origin_names) == ORIGIN_COUNT_);

/**
 * poison_origin_name() - the protocol's word for an origin
 * @origin: the origin
 */
const char *poison_origin_name(PoisonOrigin origin)
{
    return origin_names[origin];
}

/**
 * poison_origin_from_name() - the origin of a word
 * @name: the word
 * @ret_origin: where to put it
 */
gboolean poison_origin_from_name(const char *name, PoisonOrigin *ret_origin)
{
    for (guint i = 0; i < ORIGIN_COUNT_; i++) {
        if (strcmp(origin_names[i], name) == 0) {
            *ret_origin = (PoisonOrigin)i;
            return TRUE;
        }
    }
    return FALSE;
}

/**
 * poison_set_new() - an empty set
 *
 * Return: to be freed with g_array_unref().
 */
PoisonSet *poison_set_new(void)
{
    return g_array_new(FALSE, FALSE, sizeof(PoisonRange));
}

/**
 * poison_set_range() - one range
 * @set: the set
 * @index: below its length
 */
const PoisonRange *poison_set_range(const PoisonSet *set, guint index)
{
    return &g_array_index(set, PoisonRange, index);
}

static int compare(gconstpointer a, gconstpointer b)
{
    const PoisonRange *x = a, *y = b;

    if (x->block != y->block)
        return x->block < y->block ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

static guint64 end_of(const PoisonRange *range)
{
    return range->offset + range->length;
}

static gboolean continues(const PoisonRange *last, const PoisonRange *next)
{
    if (last->block != next->block || last->origin != next->origin || end_of(last) != next->offset)
        return FALSE;
    if (last->gpa == POISON_NO_GPA || next->gpa == POISON_NO_GPA)
        return last->gpa == next->gpa;
    return last->gpa + last->length == next->gpa;
}

/* Cuts off what the range before covers; of two that overlap the first one wins. FALSE: nothing left. */
static gboolean trim(PoisonRange *range, const PoisonRange *last)
{
    guint64 cut;

    if (last->block != range->block || range->offset >= end_of(last))
        return TRUE;
    cut = end_of(last) - range->offset;
    if (cut >= range->length)
        return FALSE;
    range->offset += cut;
    range->length -= cut;
    if (range->gpa != POISON_NO_GPA)
        range->gpa += cut;
    return TRUE;
}

/* Appends a range that does not begin before the last one. */
static void append(PoisonSet *set, PoisonRange range)
{
    PoisonRange *last = set->len > 0 ? &g_array_index(set, PoisonRange, set->len - 1) : NULL;

    if (last && !trim(&range, last))
        return;
    if (last && continues(last, &range))
        last->length += range.length;
    else
        g_array_append_val(set, range);
}

/* Merges two sorted lists into the first. */
static void merge(PoisonSet *set, const GArray *ranges)
{
    g_autoptr(GArray) old = g_array_sized_new(FALSE, FALSE, sizeof(PoisonRange), set->len);
    guint i = 0, j = 0;

    g_array_append_vals(old, set->data, set->len);
    g_array_set_size(set, 0);
    while (i < old->len || j < ranges->len) {
        gboolean from_old = j == ranges->len || (i < old->len && compare(poison_set_range(old, i),
                                                                         poison_set_range(ranges, j)) <= 0);

        append(set, from_old ? *poison_set_range(old, i++) : *poison_set_range(ranges, j++));
    }
}

/**
 * poison_set_add() - add ranges to a set
 * @set: the set
 * @ranges: PoisonRange, each inside its block, in any order; is sorted by this
 *
 * Return: 0, or -ENOSPC if the set would have too many ranges (it is unchanged then).
 */
int poison_set_add(PoisonSet *set, GArray *ranges)
{
    if (ranges->len > POISON_SET_MAX_RANGES - set->len)
        return -ENOSPC;
    if (ranges->len == 0)
        return 0;
    g_array_sort(ranges, compare);
    if (set->len > 0 && compare(poison_set_range(set, set->len - 1), poison_set_range(ranges, 0)) > 0) {
        merge(set, ranges);
        return 0;
    }
    for (guint i = 0; i < ranges->len; i++)
        append(set, *poison_set_range(ranges, i));
    return 0;
}

/**
 * poison_set_move() - what of a set is left under a new layout
 * @set: the set
 * @from: the layout that it refers to
 * @to: the new one
 *
 * A range stays if its block, known by name, is still there and still holds it.
 *
 * Return: a new set.
 */
PoisonSet *poison_set_move(const PoisonSet *set, const Layout *from, const Layout *to)
{
    g_autofree int *where = g_new(int, layout_count(from) + 1);
    g_autoptr(GArray) kept = poison_set_new();
    PoisonSet *moved = poison_set_new();

    for (guint i = 0; i < layout_count(from); i++)
        where[i] = layout_find(to, layout_block(from, i)->name);
    for (guint i = 0; i < set->len; i++) {
        PoisonRange range = *poison_set_range(set, i);
        int block = where[range.block];

        if (block < 0 || end_of(&range) > layout_block(to, (guint)block)->size)
            continue;
        range.block = (guint16)block;
        g_array_append_val(kept, range);
    }
    poison_set_add(moved, kept);
    return moved;
}

/**
 * poison_set_bytes() - bytes in all ranges together
 * @set: the set
 */
guint64 poison_set_bytes(const PoisonSet *set)
{
    guint64 bytes = 0;

    for (guint i = 0; i < set->len; i++)
        bytes += poison_set_range(set, i)->length;
    return bytes;
}

/**
 * poison_set_pages() - number of poisoned pages, each of its block's smallest page size
 * @set: the set
 * @layout: the layout that it refers to
 *
 * Ranges may be smaller than a page; those that touch the same page count once.
 */
guint64 poison_set_pages(const PoisonSet *set, const Layout *layout)
{
    guint64 pages = 0, next = 0; /* the first page of the block that is not counted yet */
    guint block = G_MAXUINT;

    for (guint i = 0; i < set->len; i++) {
        const PoisonRange *range = poison_set_range(set, i);
        guint64 page_size = ram_block_unit(layout_block(layout, range->block));
        guint64 first = range->offset / page_size, end = (end_of(range) - 1) / page_size + 1;

        if (range->block == block)
            first = MAX(first, next);
        pages += end > first ? end - first : 0;
        block = range->block;
        next = end;
    }
    return pages;
}
