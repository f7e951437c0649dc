/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a child inherits. */
#include <sys/mman.h>

#include "memory.h"
#include "platform.h"

SUBJECT("Fork: what a child sees of its parent's poison");

static const char *look_in_child(void *page)
{
    return kept_or_dropped(page);
}

static const char *after_fork(enum kind kind)
{
    struct area area = poisoned_area(kind);

    return in_child(look_in_child, page_of(&area, 1));
}

BEHAVIOUR(fork_private, ALWAYS("kept"), "a VMM may fork; a child must not take poison for zeros",
          "kernel-patches/README.md")
{
    return after_fork(PRIVATE);
}

BEHAVIOUR(fork_shared, PATCHED("kept"), "the same on shared memory, which QEMU has for vhost-user",
          "kernel-patches/README.md")
{
    return after_fork(SHARED);
}

BEHAVIOUR(fork_shared_registered, PATCHED("kept"), "the same, while it is registered",
          "kernel-patches/README.md")
{
    struct area area = map_area(SHARED, 4);

    arm(&area);
    poison_page(&area, 1);
    return in_child(look_in_child, page_of(&area, 1));
}

BEHAVIOUR(fork_huge_private, ALWAYS("kept"), "the same on hugetlbfs", "kernel-patches/README.md")
{
    need_huge_pages(1);
    return after_fork(HUGE_PRIVATE);
}

BEHAVIOUR(fork_huge_shared, PATCHED("kept"), "the same on shared hugetlbfs", "kernel-patches/README.md")
{
    need_huge_pages(1);
    return after_fork(HUGE_SHARED);
}

BEHAVIOUR(fork_parent, ALWAYS("kept"), "a fork takes nothing from the parent", "system/physmem.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);

    in_child(look_in_child, page_of(&area, 1));
    return kept_or_dropped(page_of(&area, 1));
}

BEHAVIOUR(fork_dontfork, ALWAYS("not mapped"),
          "QEMU keeps guest memory from its children, so that what fork loses does not matter to it",
          "system/physmem.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);
    const char *child;

    if (advise(area.start, area.size, MADV_DONTFORK) != 0)
        broken("MADV_DONTFORK");
    child = in_child(look_in_child, page_of(&area, 1));
    return child[0] == 'E' ? "not mapped" : child;
}
