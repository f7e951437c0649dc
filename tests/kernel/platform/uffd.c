/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Other calls of userfaultfd on a page that is poisoned. */
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"

SUBJECT("Other userfaultfd calls on poison");

/* Page 1 is poisoned, all is still registered. */
static struct area armed_poison(enum kind kind)
{
    struct area area = map_area(kind, 4);

    arm(&area);
    poison_page(&area, 1);
    return area;
}

static const char *content_word(const struct area *area, const char *expected)
{
    const char *state = kept_or_dropped(page_of(area, 1));

    if (strcmp(state, "dropped") != 0)
        return state;
    return memcmp(page_of(area, 1), expected, area->page) == 0 ? "overwritten" : "other content";
}

static const char *after_copy(enum kind kind)
{
    struct area area = armed_poison(kind);
    struct area source = map_area(PRIVATE, area.page / 4096);
    struct uffdio_copy copy = { .dst = (uintptr_t)page_of(&area, 1), .len = area.page };

    memset(source.start, 7, source.size);
    copy.src = (uintptr_t)source.start;
    if (ioctl(area.uffd, UFFDIO_COPY, &copy) < 0)
        return errno_word(errno);
    return content_word(&area, source.start);
}

BEHAVIOUR(copy_private, INFORMATIVE, "a page placed there makes poison good: postcopy places none",
          "migration/ram-poison.c (QEMU)")
{
    return after_copy(PRIVATE);
}

BEHAVIOUR(copy_shared, INFORMATIVE, "the same on shared memory", "migration/ram-poison.c (QEMU)")
{
    return after_copy(SHARED);
}

BEHAVIOUR(copy_huge, INFORMATIVE, "the same on hugetlbfs", "migration/ram-poison.c (QEMU)")
{
    need_huge_pages(1);
    return after_copy(HUGE_SHARED);
}

BEHAVIOUR(continue_shared, INFORMATIVE, "UFFDIO_CONTINUE makes it good from the file, too",
          "migration/ram-poison.c (QEMU)")
{
    struct area area = armed_poison(SHARED);
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)area.start, .len = area.size },
        .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_MINOR,
    };
    struct uffdio_continue cont = { .range = { .start = (uintptr_t)page_of(&area, 1), .len = area.page } };
    char *other = map_again(&area);

    memset(other, 7, area.size);
    if (ioctl(area.uffd, UFFDIO_REGISTER, &reg) < 0)
        skip("UFFDIO_REGISTER_MODE_MINOR: %s", errno_word(errno));
    if (ioctl(area.uffd, UFFDIO_CONTINUE, &cont) < 0)
        return errno_word(errno);
    return content_word(&area, other + area.page);
}

BEHAVIOUR(zeropage_private, INFORMATIVE, "UFFDIO_ZEROPAGE does not", "migration/ram-poison.c (QEMU)")
{
    struct area area = armed_poison(PRIVATE);
    struct uffdio_zeropage zero = { .range = { .start = (uintptr_t)page_of(&area, 1), .len = area.page } };
    int r = ioctl(area.uffd, UFFDIO_ZEROPAGE, &zero) < 0 ? errno : 0;

    return r ? errno_word(r) : kept_or_dropped(page_of(&area, 1));
}

BEHAVIOUR(poison_twice, ALWAYS("EEXIST"), "the agent reports a page that is poisoned already by its errno",
          "daemon/poison.c")
{
    struct area area = armed_poison(PRIVATE);

    return errno_word(try_poison(area.uffd, page_of(&area, 1), area.page, NULL));
}

BEHAVIOUR(move_source, INFORMATIVE, "UFFDIO_MOVE cannot take poison elsewhere",
          "migration/ram-poison.c (QEMU)")
{
    struct area area = map_area(PRIVATE, 4);
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)area.start, .len = area.size },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    struct uffdio_move move = { .dst = (uintptr_t)page_of(&area, 3), .src = (uintptr_t)page_of(&area, 1) };

    move.len = area.page;
    area.uffd = open_userfaultfd(UFFD_FEATURE_MOVE);
    if (ioctl(area.uffd, UFFDIO_REGISTER, &reg) < 0)
        broken("UFFDIO_REGISTER");
    poison_page(&area, 1);
    return ioctl(area.uffd, UFFDIO_MOVE, &move) < 0 ? errno_word(errno) : "moved";
}
