/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The rules for RAM blocks and for ranges in them, and policy
 */
#include <string.h>

#include "layout.h"
#include "policy.h"
#include "ranges.h"
#include "util/proto-error.h"

#define PAGE 4096u
#define TOP  (G_GUINT64_CONSTANT(1) << 63)

static const struct {
    const char *name;
    guint64 address, size, page_size;
    gboolean ok;
    MemoryKind kind;
} blocks[] = {
    { "a", 0, PAGE, PAGE, TRUE, MEMORY_ANONYMOUS },
    { "a", 2 << 20, 2 << 20, 2 << 20, TRUE, MEMORY_HUGETLB },
    { "a", 2 << 20, 2 << 20, 2 << 20, FALSE, MEMORY_ANONYMOUS },
    { "a", 2 << 20, 2 << 20, 2 << 20, FALSE, MEMORY_SHMEM },
    { "a", 2 << 20, 2 << 20, 2 << 20, FALSE, MEMORY_FILE },
    { "a", 2 << 20, 2 << 20, PAGE, FALSE, MEMORY_HUGETLB },
    { "a", 2 << 20, 2 << 20, 1 << 20, FALSE, MEMORY_HUGETLB },
    { "a", 0, 12 << 20, 6 << 20, FALSE, MEMORY_HUGETLB },
    { "a", 1 << 30, 1 << 30, 1 << 30, TRUE, MEMORY_HUGETLB },
    { "a", 2ULL << 30, 2ULL << 30, 2ULL << 30, FALSE, MEMORY_HUGETLB },
    { "a", TOP / 2, TOP / 2, TOP / 2, FALSE, MEMORY_HUGETLB },
    { "a", TOP - 2 * PAGE, PAGE, PAGE, TRUE, MEMORY_ANONYMOUS },
    { "a", TOP - PAGE, PAGE, PAGE, FALSE, MEMORY_ANONYMOUS }, /* its end is 2^63 */
    { "a", TOP, PAGE, PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", G_MAXUINT64 - PAGE + 1, PAGE, PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", PAGE, G_MAXUINT64 - PAGE + 1, PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", PAGE, TOP - PAGE, PAGE, FALSE, MEMORY_ANONYMOUS },
    { "", PAGE, PAGE, PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", PAGE, 0, PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", PAGE, PAGE + 1, PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", PAGE + 1, PAGE, PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", PAGE, PAGE, 2 * PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", PAGE, 2 * PAGE, 2 * PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", 0, 3 * PAGE, 3 * PAGE, FALSE, MEMORY_ANONYMOUS },
    { "a", 0, PAGE, 0, FALSE, MEMORY_ANONYMOUS },
    { "a", 0, PAGE, 1, FALSE, MEMORY_ANONYMOUS },
    { "a", 0, PAGE, PAGE / 2, FALSE, MEMORY_ANONYMOUS },
    { "a", 0, TOP, TOP, FALSE, MEMORY_ANONYMOUS },
};

static void test_blocks(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(blocks); i++) {
        g_autoptr(Layout) layout = layout_new();
        g_autoptr(GError) error = NULL;
        RamBlock block = { .address = blocks[i].address, .size = blocks[i].size,
                           .page_size = blocks[i].page_size, .kind = blocks[i].kind };

        g_assert_cmpint(layout_add(layout, blocks[i].name, &block, &error), ==, blocks[i].ok);
        if (!blocks[i].ok)
            g_assert_error(error, PROTO_ERROR, PROTO_ERROR_BAD_LAYOUT);
        g_assert_cmpuint(layout_count(layout), ==, blocks[i].ok);
    }
}

static gboolean add(Layout *layout, const char *name, guint64 address, guint64 size)
{
    RamBlock block = { .address = address, .size = size, .page_size = PAGE };

    return layout_add(layout, name, &block, NULL);
}

static void test_names(void)
{
    g_autoptr(Layout) layout = layout_new();
    g_autofree char *longest = g_strnfill(255, 'n'), *longer = g_strnfill(256, 'n');

    g_assert_true(add(layout, "ram", 0, PAGE));
    g_assert_false(add(layout, "ram", PAGE, PAGE));
    g_assert_true(add(layout, longest, PAGE, PAGE));
    g_assert_false(add(layout, longer, 2 * PAGE, PAGE));
    g_assert_cmpint(layout_find(layout, "ram"), ==, 0);
    g_assert_cmpint(layout_find(layout, longest), ==, 1);
    g_assert_cmpint(layout_find(layout, "rom"), ==, -1);
    g_assert_cmpint(layout_find(NULL, "ram"), ==, -1);
}

static void test_most_blocks(void)
{
    g_autoptr(Layout) layout = layout_new();

    for (guint i = 0; i <= LAYOUT_MAX_BLOCKS; i++) {
        g_autofree char *name = g_strdup_printf("block%u", i);

        g_assert_cmpint(add(layout, name, (guint64)i * PAGE, PAGE), ==, i < LAYOUT_MAX_BLOCKS);
    }
    g_assert_true(layout_check_disjoint(layout, NULL));
}

/* All names have the same g_str_hash(). */
static void test_colliding_names(void)
{
    static const char *const parts[] = { "Ez", "FY", "G8" };
    gint64 start = g_get_monotonic_time();

    for (guint round = 0; round < 20; round++) {
        g_autoptr(Layout) again = layout_new();

        for (guint i = 0; i < LAYOUT_MAX_BLOCKS; i++) {
            g_autoptr(GString) name = g_string_new(NULL);

            for (guint k = 0, rest = i; k < 100; k++, rest /= 3)
                g_string_append(name, parts[rest % 3]);
            g_assert_true(add(again, name->str, (guint64)i * PAGE, PAGE));
        }
    }
    g_assert_cmpint(g_get_monotonic_time() - start, <, 3 * G_USEC_PER_SEC);
}

/* The second block against the first, which is pages 10 to 19. */
static const struct {
    guint64 first, pages;
    gboolean ok;
} neighbours[] = {
    { 0, 10, TRUE }, { 20, 1, TRUE },  { 0, 11, FALSE }, { 19, 1, FALSE }, { 10, 10, FALSE },
    { 0, 30, FALSE }, { 12, 2, FALSE }, { 9, 1, TRUE },  { 9, 2, FALSE },  { 10, 1, FALSE },
};

static void test_disjoint(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(neighbours); i++) {
        g_autoptr(Layout) layout = layout_new();
        g_autoptr(GError) error = NULL;

        g_assert_true(add(layout, "first", 10 * PAGE, 10 * PAGE));
        g_assert_true(add(layout, "second", neighbours[i].first * PAGE, neighbours[i].pages * PAGE));
        g_assert_cmpint(layout_check_disjoint(layout, &error), ==, neighbours[i].ok);
        if (!neighbours[i].ok)
            g_assert_error(error, PROTO_ERROR, PROTO_ERROR_BAD_LAYOUT);
    }
}

static const RamBlock ram = { .name = (char *)"ram", .address = 0x100000, .size = 16 * PAGE, .page_size = PAGE };

/* Lists against a block of 16 pages; -1 is a good one. */
static const struct {
    Range ranges[3];
    guint n;
    int code;
    guint64 pages;
} lists[] = {
    { { { 0, PAGE } }, 1, -1, 1 },
    { { { 0, 16 * PAGE } }, 1, -1, 16 },
    { { { 0, PAGE }, { PAGE, PAGE }, { 15 * PAGE, PAGE } }, 3, -1, 3 },
    { { { 0, 0 } }, 1, PROTO_ERROR_RANGE_EMPTY, 0 },
    { { { G_MAXUINT64, 0 } }, 1, PROTO_ERROR_RANGE_EMPTY, 0 },
    { { { 1, PAGE } }, 1, PROTO_ERROR_RANGE_UNALIGNED, 0 },
    { { { 0, PAGE - 1 } }, 1, PROTO_ERROR_RANGE_UNALIGNED, 0 },
    { { { 0, G_MAXUINT64 } }, 1, PROTO_ERROR_RANGE_UNALIGNED, 0 },
    { { { G_MAXUINT64, G_MAXUINT64 } }, 1, PROTO_ERROR_RANGE_UNALIGNED, 0 },
    { { { 16 * PAGE, PAGE } }, 1, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, 0 },
    { { { 0, 17 * PAGE } }, 1, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, 0 },
    { { { 15 * PAGE, 2 * PAGE } }, 1, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, 0 },
    { { { -(guint64)PAGE, PAGE } }, 1, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, 0 },
    { { { -(guint64)PAGE, 2 * PAGE } }, 1, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, 0 }, /* wraps to page 0 */
    { { { PAGE, -(guint64)PAGE } }, 1, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, 0 },     /* sum is 0 */
    { { { TOP, TOP } }, 1, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, 0 },
    { { { 0, 2 * PAGE }, { PAGE, PAGE } }, 2, PROTO_ERROR_RANGE_OVERLAP, 0 },
    { { { PAGE, PAGE }, { 0, PAGE } }, 2, PROTO_ERROR_RANGE_OVERLAP, 0 },
    { { { 0, PAGE }, { 0, PAGE } }, 2, PROTO_ERROR_RANGE_OVERLAP, 0 },
    { { { 0, PAGE }, { 4 * PAGE, PAGE }, { 3 * PAGE, PAGE } }, 3, PROTO_ERROR_RANGE_OVERLAP, 0 },
    { { { 0, PAGE }, { PAGE, PAGE }, { 16 * PAGE, PAGE } }, 3, PROTO_ERROR_RANGE_OUTSIDE_BLOCK, 0 },
};

static void test_ranges(void)
{
    for (guint i = 0; i < G_N_ELEMENTS(lists); i++) {
        g_autoptr(GError) error = NULL;
        guint64 pages = 0, tables;

        g_assert_cmpint(ranges_check(lists[i].ranges, lists[i].n, &ram, &pages, &tables, &error), ==, lists[i].code < 0);
        if (lists[i].code < 0)
            g_assert_cmpuint(pages, ==, lists[i].pages);
        else
            g_assert_error(error, PROTO_ERROR, lists[i].code);
    }
}

/* Pages are counted in base pages, and tables as if they were base pages, huge or not. */
static void test_large_pages(void)
{
    const RamBlock huge = { .name = (char *)"huge", .size = 8 << 20, .page_size = 2 << 20, .kind = MEMORY_HUGETLB };
    const Range good = { 2 << 20, 4 << 20 }, bad = { PAGE, 2 << 20 };
    g_autoptr(GError) error = NULL;
    guint64 pages, tables;

    g_assert_true(ranges_check(&good, 1, &huge, &pages, &tables, NULL));
    g_assert_cmpuint(pages, ==, 1024);
    g_assert_cmpuint(tables, ==, 4);
    g_assert_false(ranges_check(&bad, 1, &huge, &pages, &tables, &error));
    g_assert_error(error, PROTO_ERROR, PROTO_ERROR_RANGE_UNALIGNED);
}

/* Only huge pages can be split, and only those of private memory. */
static void test_split_blocks(void)
{
    static const struct {
        MemoryKind kind;
        guint64 page_size;
        gboolean shared, ok;
    } of[] = {
        { MEMORY_HUGETLB, 2 << 20, FALSE, TRUE },
        { MEMORY_HUGETLB, 2 << 20, TRUE, FALSE },
        { MEMORY_ANONYMOUS, PAGE, FALSE, FALSE },
        { MEMORY_SHMEM, PAGE, FALSE, FALSE },
    };

    for (guint i = 0; i < G_N_ELEMENTS(of); i++) {
        g_autoptr(Layout) layout = layout_new();
        RamBlock block = { .size = 8 << 20, .page_size = of[i].page_size, .kind = of[i].kind,
                           .shared = of[i].shared, .split = TRUE };

        g_assert_cmpint(layout_add(layout, "a", &block, NULL), ==, of[i].ok);
    }
}

/* What may be split can be poisoned in part, and then needs the tables of base pages. */
static void test_split_pages(void)
{
    const RamBlock split = { .name = (char *)"huge", .size = 8 << 20, .page_size = 2 << 20, .kind = MEMORY_HUGETLB,
                             .split = TRUE };
    const Range good[] = { { PAGE, PAGE }, { 3 << 20, PAGE } }, bad = { PAGE, PAGE / 2 };
    g_autoptr(GError) error = NULL;
    guint64 pages, tables;

    g_assert_true(ranges_check(good, 2, &split, &pages, &tables, NULL));
    g_assert_cmpuint(pages, ==, 2);
    g_assert_cmpuint(tables, ==, 4);
    g_assert_false(ranges_check(&bad, 1, &split, &pages, &tables, &error));
    g_assert_error(error, PROTO_ERROR, PROTO_ERROR_RANGE_UNALIGNED);
}

#define MIB (1u << 20)
#define GIB (1ULL << 30)

/* Regions of 2 MiB, 1 GiB and 512 GiB that lists touch. */
static const struct {
    Range ranges[3];
    guint n;
    guint64 tables;
} regions[] = {
    { { { 0, PAGE } }, 1, 3 },
    { { { 0, 2 * MIB } }, 1, 3 },
    { { { 2 * MIB - PAGE, 2 * PAGE } }, 1, 4 },
    { { { 0, PAGE }, { 2 * PAGE, PAGE }, { 2 * MIB - PAGE, PAGE } }, 3, 3 },
    { { { 0, PAGE }, { 2 * MIB, PAGE }, { 8 * MIB, PAGE } }, 3, 5 },
    { { { 0, PAGE }, { GIB, PAGE } }, 2, 5 },
    { { { 0, 4 * GIB } }, 1, 2048 + 4 + 1 },
    { { { 0, PAGE }, { 512 * GIB, PAGE } }, 2, 6 },
};

static void test_regions(void)
{
    const RamBlock block = { .name = (char *)"b", .address = 1024 * GIB, .size = 1024 * GIB, .page_size = PAGE };

    for (guint i = 0; i < G_N_ELEMENTS(regions); i++) {
        guint64 pages, tables;

        g_assert_true(ranges_check(regions[i].ranges, regions[i].n, &block, &pages, &tables, NULL));
        g_assert_cmpuint(tables, ==, regions[i].tables);
    }
}

static void test_policy_pages(void)
{
    const Policy policy = { .max_pages_per_guest = 10 };
    g_autoptr(GError) error = NULL;

    g_assert_true(policy_check_pages(&policy, 0, 10, NULL));
    g_assert_true(policy_check_pages(&policy, 4, 6, NULL));
    g_assert_true(policy_check_pages(&policy, 10, 0, NULL));
    g_assert_false(policy_check_pages(&policy, 0, 11, NULL));
    g_assert_false(policy_check_pages(&policy, 4, 7, NULL));
    g_assert_false(policy_check_pages(&policy, 11, 0, NULL));
    g_assert_false(policy_check_pages(&policy, 1, G_MAXUINT64, NULL));
    g_assert_false(policy_check_pages(&policy, G_MAXUINT64, 1, &error));
    g_assert_error(error, PROTO_ERROR, PROTO_ERROR_POLICY_PAGES);
}

static void test_policy_kinds(void)
{
    const Policy policy = POLICY_DEFAULT;

    for (guint kind = 0; kind < MEMORY_KIND_COUNT_; kind++) {
        const RamBlock block = { .name = (char *)"b", .kind = (MemoryKind)kind };

        g_assert_cmpint(policy_check_kind(&policy, &block, NULL), ==, kind != MEMORY_FILE);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/layout/blocks", test_blocks);
    g_test_add_func("/layout/names", test_names);
    g_test_add_func("/layout/most-blocks", test_most_blocks);
    g_test_add_func("/layout/colliding-names", test_colliding_names);
    g_test_add_func("/layout/disjoint", test_disjoint);
    g_test_add_func("/ranges/lists", test_ranges);
    g_test_add_func("/ranges/large-pages", test_large_pages);
    g_test_add_func("/ranges/split-pages", test_split_pages);
    g_test_add_func("/layout/split-blocks", test_split_blocks);
    g_test_add_func("/ranges/regions", test_regions);
    g_test_add_func("/policy/pages", test_policy_pages);
    g_test_add_func("/policy/kinds", test_policy_kinds);
    return g_test_run();
}
