/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Poison sets: sorted, without overlaps, joined where they continue; checked against a plain bitmap
 */
#include <errno.h>

#include "guest.h"
#include "poison-set.h"

#define PAGE   4096u
#define BLOCKS 3u
#define PAGES  200u

static void add(GArray *ranges, guint block, guint first, guint pages, guint64 gpa, PoisonOrigin origin)
{
    PoisonRange range = { .offset = first * PAGE, .length = pages * PAGE, .gpa = gpa,
                          .block = (guint16)block, .origin = (guint8)origin };

    g_array_append_val(ranges, range);
}

static Layout *layout_of(guint blocks)
{
    Layout *layout = layout_new();

    for (guint i = 0; i < blocks; i++) {
        g_autofree char *name = g_strdup_printf("block%u", i);
        RamBlock block = { .address = (guint64)i << 30, .size = PAGES * PAGE, .page_size = PAGE };

        g_assert_true(layout_add(layout, name, &block, NULL));
    }
    return layout;
}

static void test_joining(void)
{
    g_autoptr(GArray) set = poison_set_new(), ranges = poison_set_new();

    add(ranges, 0, 1, 1, PAGE, ORIGIN_HOST);
    add(ranges, 0, 2, 1, 2 * PAGE, ORIGIN_HOST);                   /* joins */
    add(ranges, 0, 3, 1, 9 * PAGE, ORIGIN_HOST);                   /* its GPA is elsewhere */
    add(ranges, 0, 4, 1, POISON_NO_GPA, ORIGIN_HOST);              /* has none */
    add(ranges, 0, 5, 1, POISON_NO_GPA, ORIGIN_HOST);              /* joins */
    add(ranges, 0, 6, 1, POISON_NO_GPA, ORIGIN_INJECTED);          /* other origin */
    add(ranges, 1, 7, 1, POISON_NO_GPA, ORIGIN_INJECTED);          /* other block */
    g_assert_cmpint(poison_set_add(set, ranges), ==, 0);
    g_assert_cmpuint(set->len, ==, 5);
    g_assert_cmpuint(poison_set_range(set, 0)->length, ==, 2 * PAGE);
    g_assert_cmpuint(poison_set_range(set, 2)->length, ==, 2 * PAGE);
}

static void check_sorted(const PoisonSet *set)
{
    for (guint i = 1; i < set->len; i++) {
        const PoisonRange *a = poison_set_range(set, i - 1), *b = poison_set_range(set, i);

        g_assert_true(a->block < b->block || (a->block == b->block && a->offset + a->length <= b->offset));
    }
}

static void check_against(const PoisonSet *set, const gboolean *bits)
{
    g_autofree gboolean *seen = g_new0(gboolean, BLOCKS * PAGES);

    for (guint i = 0; i < set->len; i++) {
        const PoisonRange *range = poison_set_range(set, i);

        for (guint64 at = range->offset; at < range->offset + range->length; at += PAGE)
            seen[range->block * PAGES + at / PAGE] = TRUE;
        g_assert_cmpuint(range->gpa, ==, range->offset + ((guint64)range->block << 30));
    }
    g_assert_cmpmem(seen, BLOCKS * PAGES * sizeof(gboolean), bits, BLOCKS * PAGES * sizeof(gboolean));
}

/* Random messages in any order, overlapping as they like. */
static void test_random(void)
{
    for (guint round = 0; round < 200; round++) {
        g_autoptr(GArray) set = poison_set_new();
        g_autofree gboolean *bits = g_new0(gboolean, BLOCKS * PAGES);

        for (guint message = 0; message < 10; message++) {
            g_autoptr(GArray) ranges = poison_set_new();

            for (gint n = g_test_rand_int_range(0, 8); n > 0; n--) {
                guint block = (guint)g_test_rand_int_range(0, BLOCKS);
                guint first = (guint)g_test_rand_int_range(0, PAGES - 20);
                guint pages = (guint)g_test_rand_int_range(1, 20);

                add(ranges, block, first, pages, ((guint64)block << 30) + first * PAGE,
                    (PoisonOrigin)g_test_rand_int_range(0, ORIGIN_COUNT_));
                for (guint i = 0; i < pages; i++)
                    bits[block * PAGES + first + i] = TRUE;
            }
            g_assert_cmpint(poison_set_add(set, ranges), ==, 0);
            check_sorted(set);
            check_against(set, bits);
        }
    }
}

static void test_limit(void)
{
    g_autoptr(GArray) set = poison_set_new();
    int r = 0;
    guint first = 0;

    while (r == 0) {
        g_autoptr(GArray) ranges = poison_set_new();

        for (guint i = 0; i < 4096; i++, first += 2)
            add(ranges, 0, first, 1, POISON_NO_GPA, ORIGIN_HOST);
        r = poison_set_add(set, ranges);
    }
    g_assert_cmpint(r, ==, -ENOSPC);
    g_assert_cmpuint(set->len, ==, POISON_SET_MAX_RANGES);
}

static void test_move(void)
{
    g_autoptr(Layout) from = layout_of(3), to = layout_new();
    g_autoptr(GArray) set = poison_set_new(), ranges = poison_set_new(), moved = NULL;
    RamBlock small = { .address = 0, .size = 10 * PAGE, .page_size = PAGE };
    RamBlock large = { .address = 1 << 30, .size = PAGES * PAGE, .page_size = PAGE };

    g_assert_true(layout_add(to, "block2", &large, NULL)); /* other index */
    g_assert_true(layout_add(to, "block0", &small, NULL)); /* smaller */
    add(ranges, 0, 1, 1, POISON_NO_GPA, ORIGIN_HOST);
    add(ranges, 0, 9, 2, POISON_NO_GPA, ORIGIN_HOST); /* no longer inside */
    add(ranges, 1, 1, 1, POISON_NO_GPA, ORIGIN_HOST); /* block is gone */
    add(ranges, 2, 5, 3, POISON_NO_GPA, ORIGIN_HOST);
    poison_set_add(set, ranges);
    moved = poison_set_move(set, from, to);
    g_assert_cmpuint(moved->len, ==, 2);
    g_assert_cmpuint(poison_set_range(moved, 0)->block, ==, 0);
    g_assert_cmpuint(poison_set_range(moved, 0)->offset, ==, 5 * PAGE);
    g_assert_cmpuint(poison_set_range(moved, 1)->block, ==, 1);
    g_assert_cmpuint(poison_set_pages(moved, to), ==, 4);
}

/* Ranges of 4 KiB in pages of 2 MiB: pages are counted, and each once. */
static void test_small_ranges(void)
{
    g_autoptr(Layout) layout = layout_new();
    g_autoptr(GArray) set = poison_set_new(), ranges = poison_set_new();
    RamBlock huge = { .address = 0, .size = 8 << 20, .page_size = 2 << 20, .kind = MEMORY_HUGETLB };

    g_assert_true(layout_add(layout, "huge", &huge, NULL));
    add(ranges, 0, 1, 1, POISON_NO_GPA, ORIGIN_HOST);
    add(ranges, 0, 3, 1, POISON_NO_GPA, ORIGIN_HOST);    /* the same page */
    add(ranges, 0, 511, 2, POISON_NO_GPA, ORIGIN_HOST);  /* the same and the next */
    add(ranges, 0, 514, 1, POISON_NO_GPA, ORIGIN_HOST);  /* that next again */
    add(ranges, 0, 1536, 512, POISON_NO_GPA, ORIGIN_HOST); /* the last */
    g_assert_cmpint(poison_set_add(set, ranges), ==, 0);
    g_assert_cmpuint(poison_set_pages(set, layout), ==, 3);
}

/* The same where huge pages are split: each base page counts, and no more than these. */
static void test_split_ranges(void)
{
    g_autoptr(Layout) layout = layout_new();
    g_autoptr(GArray) set = poison_set_new(), ranges = poison_set_new();
    RamBlock huge = { .address = 0, .size = 8 << 20, .page_size = 2 << 20, .kind = MEMORY_HUGETLB, .split = TRUE };

    g_assert_true(layout_add(layout, "huge", &huge, NULL));
    add(ranges, 0, 1, 1, POISON_NO_GPA, ORIGIN_HOST);
    add(ranges, 0, 511, 2, POISON_NO_GPA, ORIGIN_HOST);
    g_assert_cmpint(poison_set_add(set, ranges), ==, 0);
    g_assert_cmpuint(poison_set_pages(set, layout), ==, 3);
}

/* What the agent believes a guest to hold, which policy is asked about. */
static void test_held_pages(void)
{
    g_autoptr(Guest) guest = guest_new("vm1", "", "v", "1");
    g_autoptr(GArray) two = poison_set_new(), none = poison_set_new();

    guest_set_layout(guest, layout_of(1));
    guest->held_pages = 100; /* poisoned by the agent */
    add(two, 0, 1, 2, POISON_NO_GPA, ORIGIN_HOST);
    g_assert_cmpint(guest_tell_set(guest, FALSE, two), ==, 0);
    g_assert_cmpuint(guest->held_pages, ==, 100); /* one more message is no account of all */
    g_assert_cmpint(guest_tell_set(guest, TRUE, two), ==, 0);
    g_assert_cmpuint(guest->held_pages, ==, 2);
    g_assert_cmpint(guest_tell_set(guest, TRUE, none), ==, 0);
    g_assert_cmpuint(guest->held_pages, ==, 0); /* healed */
    g_assert_cmpuint(guest->set->len, ==, 0);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/poison-set/joining", test_joining);
    g_test_add_func("/poison-set/random", test_random);
    g_test_add_func("/poison-set/limit", test_limit);
    g_test_add_func("/poison-set/move", test_move);
    g_test_add_func("/poison-set/small-ranges", test_small_ranges);
    g_test_add_func("/poison-set/split-ranges", test_split_ranges);
    g_test_add_func("/poison-set/held-pages", test_held_pages);
    return g_test_run();
}
