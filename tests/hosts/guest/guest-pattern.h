/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The pattern guest: what its two files share. guest-pattern.c says what the program does. */
#ifndef HWP_GUEST_PATTERN_H
#define HWP_GUEST_PATTERN_H

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUEST_PAGES 16384U
#define GUEST_PAGE_SIZE 4096U

/* Page numbers of a command, in the order given. */
struct page_list {
    const uint32_t *pages;
    uint32_t count;
};

/*
 * Where a page is in guest-physical memory. A page that this guest's own kernel has found to be bad is not
 * mapped any more (a touch then ends in the kernel's tables and never reaches the memory); its address is
 * the one that it had before.
 */
struct page_state {
    uint64_t gpa;
    bool mapped;
};

/* The whole state; one writer each: the main thread, but for ao_signals (the SIGBUS handler). */
struct guest {
    unsigned char *memory;
    struct page_state pages[GUEST_PAGES];
    int pagemap;
    int kpageflags;
    volatile sig_atomic_t ao_signals;
};

extern struct guest guest;

static inline uint64_t *guest_page(uint32_t page)
{
    return (uint64_t *)(guest.memory + (size_t)page * GUEST_PAGE_SIZE);
}

/* guest-pattern.c */

/* Adds to the answer of the current command. */
void answer(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Brings `mapped` and `gpa` of all pages up to date. */
void look_up_pages(void);

/* guest-check.c */

/* Installs the SIGBUS handler; to be called first. */
void handle_sigbus(void);

/* Writes the pattern of the page's current generation. */
void fill_page(uint32_t page);

/* Both answer with what they found. */
void check_only(const struct page_list *list);
void check_all_but(const struct page_list *list);

/* Start and stop the thread that rewrites pages. */
void dirty_start(const struct page_list *but);
void dirty_stop(void);

/* Rewrites these pages once. */
void rewrite(const struct page_list *list);

#endif
