/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Asking whether there is poison, without a touch. */
#include <errno.h>
#include <stdio.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>

#include "compat.h"
#include "memory.h"
#include "platform.h"

SUBJECT("Asking for poison without a touch");

static volatile sig_atomic_t signals;

static void count_signal(int signo)
{
    (void)signo;
    signals++;
}

static const char *populated(enum kind kind, int advice)
{
    struct area area = poisoned_area(kind);
    int r;

    signal(SIGBUS, count_signal);
    r = advise(page_of(&area, 1), area.page, advice);
    return seen("%s, %s", errno_word(r), signals ? "SIGBUS" : "no signal");
}

BEHAVIOUR(populate_read, ALWAYS("EHWPOISON, no signal"),
          "QEMU verifies each page that was said to be poisoned, and must not be killed by that",
          "system/ram-poison-emulate.c (QEMU)")
{
    return populated(PRIVATE, MADV_POPULATE_READ);
}

BEHAVIOUR(populate_read_shared, ALWAYS("EHWPOISON, no signal"), "the same on shared memory",
          "system/ram-poison-emulate.c (QEMU)")
{
    return populated(SHARED, MADV_POPULATE_READ);
}

BEHAVIOUR(populate_read_huge, ALWAYS("EHWPOISON, no signal"), "the same on hugetlbfs",
          "system/ram-poison-emulate.c (QEMU)")
{
    return populated(HUGE_SHARED, MADV_POPULATE_READ);
}

BEHAVIOUR(populate_write, ALWAYS("EHWPOISON, no signal"), "preallocating such memory fails, and kills nobody",
          "system/ram-poison-emulate.c (QEMU)")
{
    return populated(PRIVATE, MADV_POPULATE_WRITE);
}

BEHAVIOUR(populate_healthy, ALWAYS("ok"), "a page that is not poisoned is told from one that is",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);

    return errno_word(advise(page_of(&area, 2), area.page, MADV_POPULATE_READ));
}

static const char *resident(enum kind kind, bool fill_file)
{
    struct area area = poisoned_area(kind);
    unsigned char state = 0;

    if (fill_file)
        memset(map_again(&area), 1, area.size);
    if (mincore(page_of(&area, 1), area.page, &state) < 0)
        return errno_word(errno);
    return state & 1 ? "present" : "absent";
}

BEHAVIOUR(mincore_private, INFORMATIVE, "mincore() says nothing of poison", "kernel-patches/README.md")
{
    return resident(PRIVATE, false);
}

BEHAVIOUR(mincore_shared, INFORMATIVE, "on shared memory it tells of the file, whatever is mapped",
          "kernel-patches/README.md")
{
    return resident(SHARED, true);
}

/* Adds up the kilobytes of a mapping in /proc/self/smaps, but for its size and its page sizes. */
static long smaps_sum(const char *start)
{
    char line[256], field[64];
    unsigned long from, to;
    bool here = false;
    long kib, sum = 0;
    FILE *file = fopen("/proc/self/smaps", "re");

    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2)
            here = from <= (unsigned long)start && (unsigned long)start < to;
        else if (here && sscanf(line, "%63[^:]: %ld kB", field, &kib) == 2 && strcmp(field, "Size") != 0 &&
                 !strstr(field, "PageSize"))
            sum += kib;
    }
    if (!file)
        broken("/proc/self/smaps");
    fclose(file);
    return sum;
}

BEHAVIOUR(smaps_counts, INFORMATIVE, "poison is neither memory in use nor swapped out",
          "kernel-patches/README.md")
{
    struct area area = poisoned_area(PRIVATE);
    long sum = smaps_sum(page_of(&area, 1));

    return sum == 0 ? "nothing" : seen("%ld kB", sum);
}
