/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program that means harm: several threads poison a page each, touch it, heal it and poison it again, as
 * fast as they can.  Any user who may use userfaultfd can do that.
 */
#ifndef HWP_POISON_STORM_H
#define HWP_POISON_STORM_H

#include <stdbool.h>

#define POISON_STORM_THREADS 4

struct kernel_log;

/* What it came to, all threads together */
struct poison_storm {
    unsigned long rounds;
    unsigned long touches;
    unsigned long sigbus; /* with BUS_MCEERR_AR and the address that was touched */
};

/* Goes on for so many seconds, and counts what is logged meanwhile unless `log` is NULL. */
struct poison_storm poison_storm(unsigned long seconds, struct kernel_log *log);

#endif
