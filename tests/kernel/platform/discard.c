/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Ways to give memory back. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"

SUBJECT("Discarding poisoned memory");

static const char *after_advice(enum kind kind, int advice)
{
    struct area area = poisoned_area(kind);
    int r = advise(page_of(&area, 1), area.page, advice);

    return r ? errno_word(r) : kept_or_dropped(page_of(&area, 1));
}

static const char *after_punch(enum kind kind)
{
    struct area area = poisoned_area(kind);

    if (fallocate(area.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)area.page, (off_t)area.page) <
        0)
        broken("FALLOC_FL_PUNCH_HOLE");
    return kept_or_dropped(page_of(&area, 1));
}

BEHAVIOUR(dontneed_private, ALWAYS("dropped"),
          "a reset of the guest, the balloon and virtio-mem make poisoned memory good again",
          "system/physmem.c (QEMU)")
{
    return after_advice(PRIVATE, MADV_DONTNEED);
}

BEHAVIOUR(dontneed_shared, ALWAYS("dropped"), "the same on shared memory", "system/physmem.c (QEMU)")
{
    return after_advice(SHARED, MADV_DONTNEED);
}

BEHAVIOUR(dontneed_huge, ALWAYS("dropped"), "the same on hugetlbfs", "system/physmem.c (QEMU)")
{
    need_huge_pages(1);
    return after_advice(HUGE_SHARED, MADV_DONTNEED);
}

BEHAVIOUR(free_private, INFORMATIVE, "MADV_FREE discards it, too; QEMU does not use it on guest memory",
          "system/physmem.c (QEMU)")
{
    return after_advice(PRIVATE, MADV_FREE);
}

BEHAVIOUR(remove_shared, INFORMATIVE, "MADV_REMOVE is not enough to discard: QEMU adds MADV_DONTNEED",
          "system/physmem.c (QEMU)")
{
    return after_advice(SHARED, MADV_REMOVE);
}

BEHAVIOUR(punch_shared, INFORMATIVE, "nor is a hole in the file: QEMU adds MADV_DONTNEED",
          "system/physmem.c (QEMU)")
{
    return after_punch(SHARED);
}

BEHAVIOUR(punch_huge, INFORMATIVE, "with hugetlbfs it is", "system/physmem.c (QEMU)")
{
    need_huge_pages(1);
    return after_punch(HUGE_SHARED);
}

BEHAVIOUR(truncate_shared, INFORMATIVE, "a file that is made shorter and longer again has lost its poison",
          "system/physmem.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);

    if (ftruncate(area.fd, 0) < 0 || ftruncate(area.fd, (off_t)area.size) < 0)
        broken("ftruncate");
    return kept_or_dropped(page_of(&area, 1));
}

BEHAVIOUR(pageout_private, ALWAYS("kept"), "swapping out what is around it leaves poison where it is",
          "docs/devel/migration/hwpoison.rst (QEMU)")
{
    struct area area = poisoned_area(PRIVATE);

    memset(page_of(&area, 2), 1, area.page);
    if (advise(area.start, area.size, MADV_PAGEOUT) != 0)
        broken("MADV_PAGEOUT");
    return kept_or_dropped(page_of(&area, 1));
}

static struct area locked_area(void)
{
    struct area area = poisoned_area(PRIVATE);

    /* ENOMEM: it could not populate the poisoned page, but the mapping is locked. */
    if (mlock(area.start, area.size) < 0 && errno != ENOMEM && errno != EHWPOISON)
        skip("mlock: %s", errno_word(errno));
    return area;
}

BEHAVIOUR(dontneed_locked_memory, INFORMATIVE,
          "memory that is locked cannot be discarded so: QEMU unlocks it meanwhile",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = locked_area();

    return errno_word(advise(page_of(&area, 1), area.page, MADV_DONTNEED));
}

BEHAVIOUR(dontneed_locked_advice, INFORMATIVE, "MADV_DONTNEED_LOCKED would discard it",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = locked_area();
    int r = advise(page_of(&area, 1), area.page, MADV_DONTNEED_LOCKED);

    return r ? errno_word(r) : kept_or_dropped(page_of(&area, 1));
}
