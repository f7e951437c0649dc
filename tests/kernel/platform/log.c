/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the kernel logs about a touch. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "platform.h"
#include "touch.h"

SUBJECT("The kernel log");

#define TOUCHES 8 /* few: the log may be somebody's */

/* The log at its end; each read() is one record. */
static int open_log(void)
{
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
        skip("/dev/kmsg: %s", errno_word(errno));
    return fd;
}

/* How many lines since then say that this process has met a memory error. */
static int count_lines(int log)
{
    char record[8192], name[32];
    ssize_t length;
    int lines = 0;

    snprintf(name, sizeof(name), ":%d due to hardware", getpid());
    while ((length = read(log, record, sizeof(record) - 1)) >= 0 || errno == EPIPE) {
        if (length < 0)
            continue; /* lines of others have been overwritten meanwhile */
        record[length] = '\0';
        lines += strstr(record, "MCE: Killing") && strstr(record, name);
    }
    return lines;
}

static const char *lines_of_touches(char *page)
{
    int log = open_log();
    int signals = 0;

    for (volatile int i = 0; i < TOUCHES; i++)
        signals += touch(page, i % 2, NULL);
    return signals == TOUCHES ? seen("%d lines", count_lines(log)) : "a touch without SIGBUS";
}

static const char *lines_of_kind(enum kind kind)
{
    struct area area = poisoned_area(kind);

    need_memory_failure();
    return lines_of_touches(page_of(&area, 1));
}

BEHAVIOUR(log_touch, PATCHED("0 lines"),
          "the operator of a sound host must not read of memory errors there (8 touches)",
          "kernel-patches/README.md")
{
    return lines_of_kind(PRIVATE);
}

BEHAVIOUR(log_touch_shared, PATCHED("0 lines"), "the same on shared memory", "kernel-patches/README.md")
{
    return lines_of_kind(SHARED);
}

BEHAVIOUR(log_touch_huge, PATCHED("0 lines"), "the same on hugetlbfs", "kernel-patches/README.md")
{
    return lines_of_kind(HUGE_SHARED);
}

static const char *touch_in_child(void *page)
{
    return lines_of_touches(page);
}

BEHAVIOUR(log_touch_child, PATCHED("0 lines"), "the same in a child, whose poison is a copy",
          "kernel-patches/README.md")
{
    struct area area = poisoned_area(PRIVATE);

    need_memory_failure();
    return in_child(touch_in_child, page_of(&area, 1));
}

BEHAVIOUR(log_real_touch, ALWAYS("8 lines"), "a real memory error is logged, each time",
          "kernel-patches/README.md")
{
    struct area area = map_area(SHARED, 4);

    poison_really(&area, 1);
    return lines_of_touches(page_of(&area, 1));
}

BEHAVIOUR(log_kernel_touch, ALWAYS("0 lines"), "a system call that meets poison is not logged",
          "kernel-patches/README.md")
{
    struct area area = poisoned_area(PRIVATE);
    int log = open_log();
    int ends[2];

    if (pipe(ends) < 0)
        broken("pipe");
    return write(ends[1], page_of(&area, 1), 1) < 0 ? seen("%d lines", count_lines(log)) : "no error";
}
