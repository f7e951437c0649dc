/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What /proc/PID/pagemap tells of poison. */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "memory.h"
#include "platform.h"

SUBJECT("/proc/PID/pagemap");

#define PM_SWAP          (1ULL << 62)
#define PM_TYPE(value)   ((unsigned)((value)&31))
#define PM_OFFSET(value) ((unsigned long long)((value) >> 5 & ((1ULL << 50) - 1)))

static int open_pagemap(void)
{
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        skip("/proc/self/pagemap: %s", errno_word(errno));
    return fd;
}

static const char *pagemap_word(enum kind kind)
{
    struct area area = poisoned_area(kind);
    uint64_t value = 0;
    off_t offset = (off_t)((uintptr_t)page_of(&area, 1) / (uintptr_t)sysconf(_SC_PAGESIZE) * sizeof(value));

    if (geteuid() != 0)
        skip("needs CAP_SYS_ADMIN");
    if (pread(open_pagemap(), &value, sizeof(value), offset) != sizeof(value))
        broken("/proc/self/pagemap");
    if (!(value & PM_SWAP))
        return "no entry";
    return seen("swap type %u, offset %llu", PM_TYPE(value), PM_OFFSET(value));
}

BEHAVIOUR(pagemap_value, PATCHED("swap type 31, offset 10"),
          "a tool with privilege can tell emulated poison from what a failed swap device left (offset 2)",
          "kernel-patches/README.md")
{
    return pagemap_word(PRIVATE);
}

BEHAVIOUR(pagemap_value_huge, INFORMATIVE, "on hugetlbfs it cannot see it", "kernel-patches/README.md")
{
    return pagemap_word(HUGE_SHARED);
}

BEHAVIOUR(pagemap_soft_dirty, ALWAYS("kept"), "dirty tracking by soft-dirty bits leaves poison where it is",
          "kernel-patches/README.md")
{
    struct area area = poisoned_area(PRIVATE);
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, "4", 1) < 0)
        skip("/proc/self/clear_refs: %s", errno_word(errno));
    return kept_or_dropped(page_of(&area, 1));
}
