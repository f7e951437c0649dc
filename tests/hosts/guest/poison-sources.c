/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How to come by a poisoned page; see poison-sources.h. */
#include "poison-sources.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../../kernel/platform/compat.h"

/* How many pages are swapped out, in the hope that some cannot be read back. */
#define SWAP_PAGES 256

_Thread_local sigjmp_buf after_sigbus;
_Thread_local siginfo_t last_sigbus;

void fail(const char *what)
{
    fprintf(stderr, "poison-toucher: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void on_sigbus(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    last_sigbus = *info;
    siglongjmp(after_sigbus, 1);
}

void catch_sigbus(void)
{
    /* SA_NODEFER: the handler is left by a jump that does not restore the mask. */
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };

    if (sigaction(SIGBUS, &action, NULL) < 0)
        fail("sigaction");
}

static size_t huge_page_size(void)
{
    char line[128];
    size_t kib = 0;
    FILE *file = fopen("/proc/meminfo", "re");

    if (!file)
        fail("/proc/meminfo");
    while (fgets(line, sizeof(line), file) && sscanf(line, "Hugepagesize: %zu kB", &kib) != 1)
        ;
    fclose(file);
    if (!kib) {
        errno = ENOTSUP;
        fail("huge pages");
    }
    return kib * 1024;
}

size_t poison_page_size(bool hugetlb)
{
    return hugetlb ? huge_page_size() : (size_t)sysconf(_SC_PAGESIZE);
}

char *poison_map_page(size_t size, bool hugetlb)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (hugetlb ? MAP_HUGETLB : 0);
    char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (page == MAP_FAILED)
        fail("mmap");
    return page;
}

static int open_userfaultfd(uint64_t memory_kind)
{
    struct uffdio_api api = {
        .api = UFFD_API,
        .features = UFFD_FEATURE_POISON | memory_kind,
    };
    int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    if (uffd < 0)
        fail("userfaultfd");
    if (ioctl(uffd, UFFDIO_API, &api) < 0)
        fail("userfaultfd without the features that are needed");
    return uffd;
}

int poison_register(char *page, size_t size, uint64_t memory_kind)
{
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)page, .len = size },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };
    int uffd = open_userfaultfd(memory_kind);

    if (ioctl(uffd, UFFDIO_REGISTER, &reg) < 0)
        fail("UFFDIO_REGISTER");
    return uffd;
}

void poison_again(int uffd, char *page, size_t size)
{
    struct uffdio_poison poison = { .range = { .start = (uintptr_t)page, .len = size } };

    if (ioctl(uffd, UFFDIO_POISON, &poison) < 0 || poison.updated != (int64_t)size)
        fail("UFFDIO_POISON");
}

void poison_heal(int uffd, char *page, const char *contents, size_t size)
{
    struct uffdio_copy copy = {
        .dst = (uintptr_t)page,
        .src = (uintptr_t)contents,
        .len = size,
    };

    if (ioctl(uffd, UFFDIO_COPY, &copy) < 0)
        fail("UFFDIO_COPY");
}

/* The marker stays in the page table when the descriptor is closed. */
static void poison_range(char *page, size_t size, uint64_t memory_kind)
{
    int uffd = poison_register(page, size, memory_kind);

    poison_again(uffd, page, size);
    close(uffd);
}

char *poison_emulated(bool hugetlb)
{
    size_t size = poison_page_size(hugetlb);
    char *page = poison_map_page(size, hugetlb);

    poison_range(page, size, hugetlb ? UFFD_FEATURE_MISSING_HUGETLBFS : 0);
    return page;
}

/* Maps a file where a huge page of it can be mapped. */
static char *map_aligned(int fd, size_t size)
{
    char *area = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    char *aligned = (char *)(((uintptr_t)area + size - 1) & -size);

    if (area == MAP_FAILED ||
        mmap(aligned, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == MAP_FAILED)
        fail("mmap");
    return aligned;
}

char *poison_emulated_collapsed(void)
{
    size_t page_size = poison_page_size(false);
    size_t size = huge_page_size();
    int fd = memfd_create("collapsed", MFD_CLOEXEC);
    char *page, *other;

    if (fd < 0 || ftruncate(fd, size) < 0)
        fail("memfd");
    page = map_aligned(fd, size) + size / 2;
    other = map_aligned(fd, size);
    poison_range(page, page_size, UFFD_FEATURE_MISSING_SHMEM);
    memset(other, 1, size);
    if (madvise(other, size, MADV_COLLAPSE) < 0)
        fail("MADV_COLLAPSE");
    close(fd);
    return page;
}

/* The kernel signals the error once at the call already, as it would to its finder. */
char *poison_real(bool hugetlb)
{
    size_t size = poison_page_size(hugetlb);
    char *page = poison_map_page(size, hugetlb);

    if (madvise(page, size, MADV_POPULATE_WRITE) < 0)
        fail("MADV_POPULATE_WRITE");
    if (!sigsetjmp(after_sigbus, 0) && madvise(page, sysconf(_SC_PAGESIZE), MADV_HWPOISON) < 0)
        fail("MADV_HWPOISON");
    return page;
}

/* Maps those pages that are in memory again, by reading from them.  Returns: their number. */
static size_t map_resident(volatile char *area, size_t page_size)
{
    unsigned char resident[SWAP_PAGES];
    size_t count = 0;

    if (mincore((void *)area, SWAP_PAGES * page_size, resident) < 0)
        fail("mincore");
    for (size_t i = 0; i < SWAP_PAGES; i++) {
        if (resident[i] & 1) {
            (void)area[i * page_size];
            count++;
        }
    }
    return count;
}

/*
 * MADV_PAGEOUT starts to write pages, and frees those that need no writing any more.
 * The others have to be mapped again for the next call to see them.
 */
static void page_out(char *area, size_t page_size)
{
    int attempts = 10000;

    do {
        if (madvise(area, SWAP_PAGES * page_size, MADV_PAGEOUT) < 0)
            fail("MADV_PAGEOUT");
        if (attempts-- == 0) {
            errno = EBUSY;
            fail("pages stay in memory");
        }
    } while (map_resident(area, page_size) > 0);
}

static bool raises_sigbus(volatile char *page)
{
    if (sigsetjmp(after_sigbus, 0))
        return true;
    (void)*page;
    return false;
}

/* Swapoff reads everything back, and leaves poison in the place of what it cannot read. */
char *poison_by_swap_error(const char *device)
{
    size_t page_size = sysconf(_SC_PAGESIZE);
    size_t size = SWAP_PAGES * page_size;
    char *area = poison_map_page(size, false);

    if (swapon(device, 0) < 0)
        fail(device);
    memset(area, 1, size);
    page_out(area, page_size);
    if (swapoff(device) < 0)
        fail("swapoff");
    for (char *page = area; page < area + size; page += page_size)
        if (raises_sigbus(page))
            return page;
    errno = ENODATA;
    fail("no page failed to be read back from swap");
}
