/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The ways in which poison-toucher gets itself a poisoned page
 *
 * Each yields a page of the calling process that raises SIGBUS whenever it is touched.  They exit with a
 * message if they cannot.
 */
#ifndef HWP_POISON_SOURCES_H
#define HWP_POISON_SOURCES_H

#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where a SIGBUS of this thread jumps to, and what it said.  catch_sigbus() comes first. */
extern _Thread_local sigjmp_buf after_sigbus;
extern _Thread_local siginfo_t last_sigbus;

void catch_sigbus(void);

/* Says what failed, and why according to errno, and exits. */
void fail(const char *what) __attribute__((noreturn));

/* The size of the pages that the following poison. */
size_t poison_page_size(bool hugetlb);

/* A page that is not populated yet */
char *poison_map_page(size_t size, bool hugetlb);

/*
 * Registers it with a userfaultfd of its own, which is returned.  `memory_kind` is the feature that stands for
 * the kind of memory, or 0 for private memory.
 */
int poison_register(char *page, size_t size, uint64_t memory_kind);

/* UFFDIO_POISON on a page that is registered and not populated, and UFFDIO_COPY on one that is poisoned */
void poison_again(int uffd, char *page, size_t size);
void poison_heal(int uffd, char *page, const char *contents, size_t size);

/* UFFDIO_POISON */
char *poison_emulated(bool hugetlb);

/*
 * UFFDIO_POISON on memory shared by two mappings, of which the other is then filled and made a huge page.
 * That must not take the poison away.
 */
char *poison_emulated_collapsed(void);

/* MADV_HWPOISON: the machine has a page less until it reboots. */
char *poison_real(bool hugetlb);

/* A page which the swap device `device`, that has to fail to read some pages, did not give back at swapoff.
 */
char *poison_by_swap_error(const char *device);

#endif
