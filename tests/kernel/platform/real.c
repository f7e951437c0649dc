/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Real memory errors, injected: what emulated ones are compared with. */
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"
#include "touch.h"

SUBJECT("Real memory errors, for comparison");

/* Page 1 of it has one. */
static struct area broken_area(enum kind kind)
{
    struct area area = map_area(kind, 4);

    poison_really(&area, 1);
    return area;
}

BEHAVIOUR(real_touch, ALWAYS("BUS_MCEERR_AR, lsb 12"), "the guest cannot tell emulated poison from real",
          "accel/kvm/kvm-all.c (QEMU)")
{
    struct area area = broken_area(PRIVATE);
    siginfo_t info;

    return touch(page_of(&area, 1), false, &info) ? siginfo_word(&info) : "no signal";
}

BEHAVIOUR(real_populate_read, ALWAYS("EHWPOISON"), "nor can QEMU", "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = broken_area(SHARED);

    return errno_word(advise(page_of(&area, 1), area.page, MADV_POPULATE_READ));
}

BEHAVIOUR(real_dontneed, ALWAYS("dropped"), "a reset of the guest gives it another page",
          "system/physmem.c (QEMU)")
{
    struct area area = broken_area(PRIVATE);

    if (advise(page_of(&area, 1), area.page, MADV_DONTNEED) != 0)
        broken("MADV_DONTNEED");
    return kept_or_dropped(page_of(&area, 1));
}

BEHAVIOUR(real_remove, INFORMATIVE, "on shared memory, MADV_REMOVE is not enough for that",
          "system/physmem.c (QEMU)")
{
    struct area area = broken_area(SHARED);

    if (advise(page_of(&area, 1), area.page, MADV_REMOVE) != 0)
        broken("MADV_REMOVE");
    return kept_or_dropped(page_of(&area, 1));
}

BEHAVIOUR(real_poison_over, ALWAYS("EEXIST"), "emulated poison does not hide a real error", "daemon/poison.c")
{
    struct area area = broken_area(PRIVATE);

    arm(&area);
    return errno_word(try_poison(area.uffd, page_of(&area, 1), area.page, NULL));
}
