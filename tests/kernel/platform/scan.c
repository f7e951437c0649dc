/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What PAGEMAP_SCAN tells of poison. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"

SUBJECT("PAGEMAP_SCAN");

static int open_pagemap(void)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        skip("/proc/self/pagemap: %s", errno_word(errno));
    return fd;
}

/* One page: whether it is in category POISONED. */
static const char *scan_word(char *page, size_t size)
{
    struct page_region region = { 0 };
    struct pm_scan_arg arg = {
        .size = sizeof(arg),
        .start = (uintptr_t)page,
        .end = (uintptr_t)page + size,
        .vec = (uintptr_t)&region,
        .vec_len = 1,
        .category_anyof_mask = PAGE_IS_POISONED | PAGE_IS_PRESENT,
        .return_mask = PAGE_IS_POISONED,
    };
    int regions = ioctl(open_pagemap(), PAGEMAP_SCAN, &arg);

    if (regions < 0)
        return errno_word(errno);
    return regions && region.categories & PAGE_IS_POISONED ? "poisoned" : "not poisoned";
}

static const char *scanned(enum kind kind)
{
    struct area area = poisoned_area(kind);

    return scan_word(page_of(&area, 1), area.page);
}

BEHAVIOUR(scan_private, PATCHED("poisoned"), "without privilege, all poison of a process in one call",
          "kernel-patches/README.md")
{
    return scanned(PRIVATE);
}

BEHAVIOUR(scan_shared, PATCHED("poisoned"), "the same on shared memory", "kernel-patches/README.md")
{
    return scanned(SHARED);
}

BEHAVIOUR(scan_huge, PATCHED("poisoned"), "the same on hugetlbfs", "kernel-patches/README.md")
{
    return scanned(HUGE_SHARED);
}

BEHAVIOUR(scan_healthy, PATCHED("not poisoned"), "and no other page", "kernel-patches/README.md")
{
    struct area area = poisoned_area(SHARED);

    memset(page_of(&area, 2), 1, area.page);
    return scan_word(page_of(&area, 2), area.page);
}

BEHAVIOUR(scan_real, PATCHED("poisoned"), "and real memory errors, which are the same to the guest",
          "kernel-patches/README.md")
{
    struct area area = map_area(SHARED, 4);

    poison_really(&area, 1);
    return scan_word(page_of(&area, 1), area.page);
}

BEHAVIOUR(scan_protects, ALWAYS("kept"), "dirty tracking by PM_SCAN_WP_MATCHING leaves poison where it is",
          "kernel-patches/README.md")
{
    struct area area = map_area(PRIVATE, 4);
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)area.start, .len = area.size },
        .mode = UFFDIO_REGISTER_MODE_WP | UFFDIO_REGISTER_MODE_MISSING,
    };
    struct pm_scan_arg arg = {
        .size = sizeof(arg),
        .flags = PM_SCAN_WP_MATCHING | PM_SCAN_CHECK_WPASYNC,
        .start = (uintptr_t)area.start,
        .end = (uintptr_t)area.start + area.size,
        .category_mask = PAGE_IS_WRITTEN,
    };

    area.uffd = open_userfaultfd(UFFD_FEATURE_WP_ASYNC | UFFD_FEATURE_WP_UNPOPULATED);
    if (ioctl(area.uffd, UFFDIO_REGISTER, &reg) < 0)
        broken("UFFDIO_REGISTER");
    poison_page(&area, 1);
    if (ioctl(open_pagemap(), PAGEMAP_SCAN, &arg) < 0)
        skip("PAGEMAP_SCAN: %s", errno_word(errno));
    return kept_or_dropped(page_of(&area, 1));
}
