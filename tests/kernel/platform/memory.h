/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory as QEMU has it, and poison in it as QEMU and hwpoisond put it there.
 *
 * Whatever should work here and does not ends the look (broken()); what cannot be had, such as huge pages
 * on a machine without any, skips it. Nothing is freed: a look is a process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kind {
    PRIVATE,      /* anonymous */
    SHARED,       /* a memfd, shared */
    SHARED_COW,   /* a memfd, private: QEMU's share=off */
    HUGE_PRIVATE, /* hugetlbfs, private */
    HUGE_SHARED,
};

struct area {
    char *start;
    size_t page; /* its page size */
    size_t size;
    int fd;   /* of its memfd, or -1 */
    int uffd; /* that it is registered with, or -1 */
    enum kind kind;
};

/* An area of so many pages, none of them populated. With hugetlb, none of them reserved. */
struct area map_area(enum kind kind, size_t pages);

/* Where page `n` of it begins. */
char *page_of(const struct area *area, size_t n);

/* Another mapping of a shared area. */
char *map_again(const struct area *area);

/* Needs an area whose memory can be populated: skips where there are too few huge pages. */
void need_huge_pages(size_t pages);
size_t huge_page_size(void);

/* Opens a userfaultfd as QEMU does: for faults in user mode, with no features but these. */
int open_userfaultfd(uint64_t features);

/*
 * Registers the area, with a new userfaultfd, for MISSING faults; from now on a touched hole waits. Returns
 * the bits of the calls that the kernel allows on it.
 */
uint64_t arm(struct area *area);

/* Undoes that, as QEMU does when it has poisoned. */
void disarm(struct area *area);

/* One UFFDIO_POISON; returns 0 or an errno, and how many bytes were poisoned if `done` is not NULL. */
int try_poison(int uffd, const char *start, size_t size, size_t *done);

/* Poisons a hole of an area that is armed. */
void poison_page(const struct area *area, size_t n);

/* Makes a hole of a page as QEMU's ram_block_discard_range() does. */
void discard_page(const struct area *area, size_t n);

/* An area of four pages of which page 1 is poisoned, no longer armed: as a guest has it. */
struct area poisoned_area(enum kind kind);

/* Page `n` has a real memory error, injected; skips where that is not wanted (--real). */
void poison_really(const struct area *area, size_t n);

/* Madvise; returns 0 or an errno. */
int advise(char *start, size_t size, int advice);

/* Makes a transparent huge page of memory that has been filled; skips where none is to be had. */
void collapse(char *start, size_t size);

/*
 * Whether there is poison: "kept" if the kernel says so and a touch raises SIGBUS; "dropped" if the
 * page can be had; else the errno that the kernel says. An area that is armed does not make this wait.
 */
const char *kept_or_dropped(char *page);
