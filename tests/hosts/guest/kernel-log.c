/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Counting lines of the kernel log; see kernel-log.h. */
#include "kernel-log.h"

#include "poison-sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* A record is "PRIORITY,NUMBER,TIME,FLAGS;TEXT". */
static void count_record(struct kernel_log *log, const char *record)
{
    unsigned long long number;

    if (sscanf(record, "%*u,%llu,", &number) != 1) {
        errno = EBADMSG;
        fail("/dev/kmsg");
    }
    if (log->next)
        log->lost += number - log->next;
    log->next = number + 1;
    if (strstr(record, "MCE: Killing"))
        log->mce_lines++;
}

void kernel_log_read(struct kernel_log *log)
{
    char record[8192];
    ssize_t length;

    /* EPIPE: records were overwritten; the next call reads the oldest that is left. */
    while ((length = read(log->fd, record, sizeof(record) - 1)) >= 0 || errno == EPIPE) {
        if (length < 0)
            continue;
        record[length] = '\0';
        count_record(log, record);
    }
    if (errno != EAGAIN)
        fail("reading /dev/kmsg");
}

/* Read rather than skipped, so that the number of the first line to come is known. */
void kernel_log_open(struct kernel_log *log)
{
    *log = (struct kernel_log){ .fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC) };
    if (log->fd < 0)
        fail("/dev/kmsg");
    kernel_log_read(log);
    log->mce_lines = log->lost = 0;
}
