/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of the mappings themselves. */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"

SUBJECT("Changes of the mapping");

BEHAVIOUR(mprotect_keeps, ALWAYS("kept"), "nothing but a discard makes poison good",
          "docs/devel/migration/hwpoison.rst (QEMU)")
{
    struct area area = poisoned_area(PRIVATE);

    if (mprotect(area.start, area.size, PROT_NONE) < 0 ||
        mprotect(area.start, area.size, PROT_READ | PROT_WRITE) < 0)
        broken("mprotect");
    return kept_or_dropped(page_of(&area, 1));
}

BEHAVIOUR(mremap_moves, ALWAYS("kept"), "poison goes with the memory, should a VMM move it",
          "daemon/poison.c")
{
    struct area area = poisoned_area(PRIVATE);
    struct area target = map_area(PRIVATE, 4);

    if (mremap(area.start, area.size, area.size, MREMAP_MAYMOVE | MREMAP_FIXED, target.start) == MAP_FAILED)
        broken("mremap");
    return kept_or_dropped(page_of(&target, 1));
}

BEHAVIOUR(split_keeps, ALWAYS("kept"), "QEMU divides the mapping beside poison, to prevent a collapse",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);
    int r = advise(page_of(&area, 1), area.page, MADV_NOHUGEPAGE);

    if (r == EINVAL)
        skip("this kernel has no transparent huge pages");
    return kept_or_dropped(page_of(&area, 1));
}

/* A huge page of shared memory, poisoned in one mapping and filled by another, which collapses it. */
static const char *collapse_beside(bool divided)
{
    struct area area = map_area(SHARED, ((size_t)2 << 20) / 4096);
    char *other = map_again(&area);

    arm(&area);
    poison_page(&area, 100);
    disarm(&area);
    if (divided && advise(page_of(&area, 100), area.page, MADV_NOHUGEPAGE) != 0)
        skip("this kernel has no transparent huge pages");
    memset(other, 1, area.size);
    collapse(other, area.size);
    return kept_or_dropped(page_of(&area, 100));
}

BEHAVIOUR(collapse_shared, PATCHED("kept"),
          "a vhost-user backend, or khugepaged, must not make poison readable", "kernel-patches/README.md")
{
    return collapse_beside(false);
}

BEHAVIOUR(collapse_divided, ALWAYS("kept"), "QEMU divides the mapping: that prevents it on any kernel",
          "system/ram-poison-emulate.c (QEMU)")
{
    return collapse_beside(true);
}

BEHAVIOUR(collapse_private, ALWAYS("kept"), "QEMU does not divide private memory: it is safe as it is",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = map_area(PRIVATE, ((size_t)2 << 20) / 4096);

    arm(&area);
    poison_page(&area, 100);
    disarm(&area);
    memset(area.start, 1, 100 * area.page);
    if (advise(area.start, area.size, MADV_COLLAPSE) == 0)
        return "collapsed";
    return kept_or_dropped(page_of(&area, 100));
}
