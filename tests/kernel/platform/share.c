/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another process that maps the same memory. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"

SUBJECT("Another process with the same memory");

#define GIB ((size_t)1 << 30)

/* Poison is in the page table of one mapping; so a mapping of a process that did not ask for it has none. */
static const char *look_at_own_mapping(void *argument)
{
    const struct area *area = argument;
    int r = advise(map_again(area) + area->page, 1, MADV_POPULATE_READ);

    return r == EHWPOISON ? "poisoned" : "not poisoned";
}

BEHAVIOUR(share_shmem, INFORMATIVE, "a vhost-user backend that did not ask for poison reads zeros",
          "docs/devel/migration/hwpoison.rst (QEMU)")
{
    struct area area = poisoned_area(SHARED);

    return in_child(look_at_own_mapping, &area);
}

/* The mappings are of a size and in places where processes share page tables. */
static struct area shareable_area(void)
{
    if (huge_page_size() > GIB / 4)
        skip("huge pages of less than 256 MiB are needed");
    return map_area(HUGE_SHARED, GIB / huge_page_size());
}

BEHAVIOUR(share_huge_later, PATCHED("not poisoned"),
          "poison on hugetlbfs must not leak into a process that maps it afterwards",
          "kernel-patches/README.md")
{
    struct area area = shareable_area();

    arm(&area);
    poison_page(&area, 1);
    disarm(&area);
    return in_child(look_at_own_mapping, &area);
}

/* In the child, as QEMU does in memory that it and a vhost-user backend have been using. */
static const char *poison_own_mapping(void *argument)
{
    struct area area = *(const struct area *)argument;

    area.start = map_again(&area);
    (void)*(volatile char *)area.start; /* so that it has its page tables, which may be the parent's */
    arm(&area);
    poison_page(&area, 1);
    disarm(&area);
    return *area.start == 1 ? kept_or_dropped(page_of(&area, 1)) : "the neighbour is lost";
}

BEHAVIOUR(share_huge_earlier, PATCHED("not poisoned"), "nor into one that has it mapped already",
          "kernel-patches/README.md")
{
    struct area area = shareable_area();
    const char *other;

    need_huge_pages(1);
    memset(area.start, 1, area.page);
    other = in_child(poison_own_mapping, &area);
    if (strcmp(other, "kept") != 0)
        return seen("the other: %s", other);
    return advise(page_of(&area, 1), 1, MADV_POPULATE_READ) == EHWPOISON ? "poisoned" : "not poisoned";
}
