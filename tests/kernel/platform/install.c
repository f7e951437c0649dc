/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Putting poison in place: the recipe of QEMU, and what it must not do wrong. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"
#include "touch.h"

SUBJECT("Register, discard, poison, unregister: QEMU's recipe");

static const char *poisoned_word(const struct area *area)
{
    return strcmp(kept_or_dropped(page_of(area, 1)), "kept") == 0 ? "poisoned" : "not poisoned";
}

/* On memory that the guest has written to. */
static const char *recipe(enum kind kind, size_t pages)
{
    struct area area = map_area(kind, pages);

    memset(area.start, 7, area.size);
    arm(&area);
    discard_page(&area, 1);
    poison_page(&area, 1);
    disarm(&area);
    if (touch(page_of(&area, 0), false, NULL) || touch(page_of(&area, 2), false, NULL))
        return "its neighbours are lost";
    if (*page_of(&area, 0) != 7 || *page_of(&area, 2) != 7)
        return "its neighbours are changed";
    return poisoned_word(&area);
}

BEHAVIOUR(recipe_private, ALWAYS("poisoned"), "poison on the destination of a migration",
          "system/ram-poison-emulate.c (QEMU)")
{
    return recipe(PRIVATE, 4);
}

BEHAVIOUR(recipe_thp, ALWAYS("poisoned"), "the same in the middle of a transparent huge page",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = map_area(PRIVATE, ((size_t)2 << 20) / 4096);

    memset(area.start, 7, area.size);
    collapse(area.start, area.size);
    arm(&area);
    discard_page(&area, 1);
    poison_page(&area, 1);
    disarm(&area);
    if (*page_of(&area, 2) != 7)
        return "its neighbours are changed";
    return poisoned_word(&area);
}

BEHAVIOUR(recipe_shared, ALWAYS("poisoned"), "the same on a memfd", "system/ram-poison-emulate.c (QEMU)")
{
    return recipe(SHARED, 4);
}

BEHAVIOUR(recipe_shared_cow, ALWAYS("poisoned"), "the same on a memfd with share=off",
          "system/ram-poison-emulate.c (QEMU)")
{
    return recipe(SHARED_COW, 4);
}

BEHAVIOUR(recipe_huge_private, ALWAYS("poisoned"), "the same on hugetlbfs with share=off",
          "system/ram-poison-emulate.c (QEMU)")
{
    need_huge_pages(3);
    return recipe(HUGE_PRIVATE, 3);
}

BEHAVIOUR(recipe_huge_shared, ALWAYS("poisoned"), "the same on hugetlbfs",
          "system/ram-poison-emulate.c (QEMU)")
{
    need_huge_pages(3);
    return recipe(HUGE_SHARED, 3);
}

BEHAVIOUR(recipe_unregistered, ALWAYS("kept"),
          "QEMU unregisters memory at once: nobody would answer for a page that is discarded later",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = poisoned_area(PRIVATE);

    return kept_or_dropped(page_of(&area, 1));
}

BEHAVIOUR(recipe_closed, ALWAYS("kept"), "the agent and QEMU close their userfaultfd after that",
          "daemon/vmm-requests.c")
{
    struct area area = map_area(SHARED, 4);

    arm(&area);
    poison_page(&area, 1);
    close(area.uffd);
    return kept_or_dropped(page_of(&area, 1));
}

/* What the answer to UFFDIO_REGISTER says that can be done. */
BEHAVIOUR(register_says, ALWAYS("all kinds"),
          "QEMU asks the kernel beforehand whether a kind of memory will do",
          "system/ram-poison-emulate.c (QEMU)")
{
    static const enum kind kinds[] = { PRIVATE, SHARED, SHARED_COW, HUGE_PRIVATE, HUGE_SHARED };

    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        struct area area = map_area(kinds[i], 4);

        if (!(arm(&area) & 1 << _UFFDIO_POISON))
            return "not all kinds";
    }
    return "all kinds";
}
