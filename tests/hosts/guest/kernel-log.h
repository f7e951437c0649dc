/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The "MCE: Killing" lines of the kernel log
 *
 * The log is a ring.  Whoever does not read as fast as the kernel writes misses lines, but can tell how many:
 * all that is logged has a number.
 */
#ifndef HWP_KERNEL_LOG_H
#define HWP_KERNEL_LOG_H

struct kernel_log {
    int fd;
    unsigned long long next; /* the number of the line after the last one that was read, or 0 */
    unsigned long mce_lines;
    unsigned long lost; /* lines of whatever contents */
};

/* Opens the log at its end. */
void kernel_log_open(struct kernel_log *log);

/* Counts what has been logged since the last call.  It does not wait. */
void kernel_log_read(struct kernel_log *log);

#endif
