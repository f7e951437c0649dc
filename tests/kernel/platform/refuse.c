/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where UFFDIO_POISON does nothing, and what it says. */
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"

SUBJECT("Where UFFDIO_POISON refuses, and how it says so");

/* The errno, and whether something was poisoned nevertheless. */
static const char *refusal(const struct area *area, const char *start, size_t size)
{
    size_t done;
    int r = try_poison(area->uffd, start, size, &done);

    return done ? "poisons" : errno_word(r);
}

BEHAVIOUR(refuse_populated, ALWAYS("EEXIST"),
          "a page that somebody has filled meanwhile is not lost silently", "daemon/poison.c")
{
    struct area area = map_area(SHARED, 4);

    memset(page_of(&area, 1), 1, area.page);
    arm(&area);
    return refusal(&area, page_of(&area, 1), area.page);
}

BEHAVIOUR(refuse_thp, ALWAYS("EEXIST"), "the same in a transparent huge page", "daemon/poison.c")
{
    struct area area = map_area(PRIVATE, ((size_t)2 << 20) / 4096);

    memset(area.start, 1, area.size);
    collapse(area.start, area.size);
    arm(&area);
    return refusal(&area, page_of(&area, 1), area.page);
}

BEHAVIOUR(refuse_unregistered, ALWAYS("ENOENT"),
          "a VMM cannot have memory poisoned that it has not registered", "daemon/layout.c")
{
    struct area area = map_area(PRIVATE, 4), other = map_area(PRIVATE, 4);

    arm(&area);
    return refusal(&area, other.start, other.page);
}

BEHAVIOUR(refuse_misaligned, ALWAYS("EINVAL"), "a range is never made larger", "daemon/ranges.c")
{
    struct area area = map_area(PRIVATE, 4);

    arm(&area);
    return refusal(&area, page_of(&area, 1) + 512, area.page);
}

BEHAVIOUR(refuse_part_of_huge, ALWAYS("EINVAL"),
          "hugetlbfs: whole huge pages only, which QEMU checks beforehand",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = map_area(HUGE_SHARED, 4);

    arm(&area);
    return refusal(&area, page_of(&area, 1), 4096);
}

static const char *beyond_end(enum kind kind)
{
    struct area area = map_area(kind, 4);

    arm(&area);
    if (ftruncate(area.fd, (off_t)area.page) < 0)
        broken("ftruncate");
    return refusal(&area, page_of(&area, 1), area.page);
}

BEHAVIOUR(refuse_beyond_end, ALWAYS("EFAULT"), "nothing is poisoned behind the end of a file",
          "daemon/poison.c")
{
    return beyond_end(SHARED);
}

BEHAVIOUR(refuse_beyond_end_huge, PATCHED("EFAULT"),
          "nor on hugetlbfs, where it could come up when the file grows", "kernel-patches/README.md")
{
    return beyond_end(HUGE_SHARED);
}

BEHAVIOUR(refuse_in_the_middle, ALWAYS("EAGAIN after 2 pages, then EEXIST"),
          "the agent goes on behind what is done, and learns the reason from the next call",
          "daemon/poison.c")
{
    struct area area = map_area(SHARED, 4);
    size_t done;
    int first;

    memset(page_of(&area, 2), 1, area.page);
    arm(&area);
    first = try_poison(area.uffd, area.start, area.size, &done);
    return seen("%s after %zu pages, then %s", errno_word(first), done / area.page,
                errno_word(try_poison(area.uffd, page_of(&area, 2), area.page, NULL)));
}

/* Waits, as the userfaultfd asked to be told of this and nobody listens yet. */
static void *remove_last_page(void *argument)
{
    const struct area *area = argument;

    madvise(page_of(area, 3), area->page, MADV_DONTNEED);
    return NULL;
}

static void register_with_events(struct area *area)
{
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)area->start, .len = area->size },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };

    area->uffd = open_userfaultfd(UFFD_FEATURE_EVENT_REMOVE);
    if (ioctl(area->uffd, UFFDIO_REGISTER, &reg) < 0)
        broken("UFFDIO_REGISTER");
}

BEHAVIOUR(refuse_while_changing, ALWAYS("EAGAIN, then ok"),
          "an address space that changes is a matter of waiting, but not for ever", "daemon/poison.c")
{
    struct area area = map_area(PRIVATE, 4);
    struct pollfd event = { .events = POLLIN };
    struct uffd_msg message;
    pthread_t remover;
    int first;

    register_with_events(&area);
    pthread_create(&remover, NULL, remove_last_page, &area);
    event.fd = area.uffd;
    if (poll(&event, 1, -1) < 0)
        broken("poll");
    first = try_poison(area.uffd, page_of(&area, 1), area.page, NULL);
    if (read(area.uffd, &message, sizeof(message)) != sizeof(message))
        broken("read");
    pthread_join(remover, NULL);
    return seen("%s, then %s", errno_word(first),
                errno_word(try_poison(area.uffd, page_of(&area, 1), area.page, NULL)));
}
