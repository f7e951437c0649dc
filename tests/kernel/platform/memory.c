/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory, and poison in it; see memory.h. */
#include "memory.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "compat.h"
#include "platform.h"
#include "touch.h"

/* A number of /proc/meminfo, or -1. */
static long meminfo(const char *field)
{
    char line[128];
    long value = -1;
    FILE *file = fopen("/proc/meminfo", "re");

    while (value < 0 && file && fgets(line, sizeof(line), file))
        if (strncmp(line, field, strlen(field)) == 0)
            sscanf(line + strlen(field), " %ld", &value);
    if (file)
        fclose(file);
    return value;
}

size_t huge_page_size(void)
{
    long kib = meminfo("Hugepagesize:");

    if (kib <= 0)
        skip("this kernel has no hugetlbfs");
    return (size_t)kib * 1024;
}

void need_huge_pages(size_t pages)
{
    huge_page_size();
    if (meminfo("HugePages_Free:") < (long)pages)
        skip("needs %zu free huge pages (/proc/sys/vm/nr_hugepages)", pages);
}

static int new_memfd(size_t size, bool huge)
{
    int fd = memfd_create("platform", MFD_CLOEXEC | (huge ? MFD_HUGETLB : 0));

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
        broken("memfd");
    return fd;
}

/* So that there can be a huge page. */
#define ALIGNMENT       ((size_t)2 << 20)

/* And page tables for huge pages that processes share, on x86. */
#define TABLE_ALIGNMENT ((size_t)1 << 30)

static char *reserve_aligned(size_t size, size_t alignment)
{
    char *start = mmap(NULL, size + alignment, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (start == MAP_FAILED)
        broken("mmap");
    return (char *)(((uintptr_t)start + alignment - 1) & -alignment);
}

static char *map_file(const struct area *area)
{
    int flags = MAP_FIXED | MAP_NORESERVE;
    size_t least = area->page > ALIGNMENT ? area->page : ALIGNMENT;
    char *place = reserve_aligned(area->size, area->size % TABLE_ALIGNMENT == 0 ? TABLE_ALIGNMENT : least);
    char *start;

    flags |= area->kind == SHARED || area->kind == HUGE_SHARED ? MAP_SHARED : MAP_PRIVATE;
    if (area->fd < 0)
        flags |= MAP_ANONYMOUS;
    start = mmap(place, area->size, PROT_READ | PROT_WRITE, flags, area->fd, 0);
    if (start == MAP_FAILED)
        broken("mmap");
    return start;
}

struct area map_area(enum kind kind, size_t pages)
{
    bool huge = kind == HUGE_PRIVATE || kind == HUGE_SHARED;
    struct area area = { .kind = kind, .fd = -1, .uffd = -1 };

    area.page = huge ? huge_page_size() : (size_t)sysconf(_SC_PAGESIZE);
    area.size = area.page * pages;
    if (kind != PRIVATE)
        area.fd = new_memfd(area.size, huge);
    area.start = map_file(&area);
    return area;
}

char *page_of(const struct area *area, size_t n)
{
    return area->start + n * area->page;
}

char *map_again(const struct area *area)
{
    return map_file(area);
}

int open_userfaultfd(uint64_t features)
{
    struct uffdio_api api = { .api = UFFD_API, .features = features };
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

    if (uffd < 0)
        skip("userfaultfd: %s", errno_word(errno));
    if (ioctl(uffd, UFFDIO_API, &api) < 0)
        skip("userfaultfd without the features: %s", errno_word(errno));
    if (!(api.features & UFFD_FEATURE_POISON))
        skip("this kernel has no UFFDIO_POISON");
    return uffd;
}

uint64_t arm(struct area *area)
{
    struct uffdio_register reg = {
        .range = { .start = (uintptr_t)area->start, .len = area->size },
        .mode = UFFDIO_REGISTER_MODE_MISSING,
    };

    area->uffd = open_userfaultfd(0);
    if (ioctl(area->uffd, UFFDIO_REGISTER, &reg) < 0)
        broken("UFFDIO_REGISTER");
    return reg.ioctls;
}

void disarm(struct area *area)
{
    struct uffdio_range range = { .start = (uintptr_t)area->start, .len = area->size };

    if (ioctl(area->uffd, UFFDIO_UNREGISTER, &range) < 0)
        broken("UFFDIO_UNREGISTER");
    close(area->uffd);
    area->uffd = -1;
}

int try_poison(int uffd, const char *start, size_t size, size_t *done)
{
    struct uffdio_poison arg = { .range = { .start = (uintptr_t)start, .len = size } };
    int r = ioctl(uffd, UFFDIO_POISON, &arg) < 0 ? errno : 0;

    if (done)
        *done = arg.updated > 0 ? (size_t)arg.updated : 0;
    return r;
}

void poison_page(const struct area *area, size_t n)
{
    int r = try_poison(area->uffd, page_of(area, n), area->page, NULL);

    if (r != 0) {
        errno = r;
        broken("UFFDIO_POISON");
    }
}

void discard_page(const struct area *area, size_t n)
{
    off_t offset = (off_t)(n * area->page);

    if (area->fd >= 0 &&
        fallocate(area->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, (off_t)area->page) < 0)
        broken("FALLOC_FL_PUNCH_HOLE");
    if (madvise(page_of(area, n), area->page, MADV_DONTNEED) < 0)
        broken("MADV_DONTNEED");
}

struct area poisoned_area(enum kind kind)
{
    struct area area = map_area(kind, 4);

    arm(&area);
    poison_page(&area, 1);
    disarm(&area);
    return area;
}

static void ignore_sigbus(int signo)
{
    (void)signo;
}

/* The kernel may signal the error to its finder at the call already, and then SIG_IGN would not do. */
void poison_really(const struct area *area, size_t n)
{
    char *page = page_of(area, n);

    if (!platform_options.real)
        skip("poisons real pages: only with --real, in a virtual host");
    need_memory_failure();
    if (advise(page, area->page, MADV_POPULATE_WRITE) != 0)
        broken("MADV_POPULATE_WRITE");
    signal(SIGBUS, ignore_sigbus);
    if (madvise(page, (size_t)sysconf(_SC_PAGESIZE), MADV_HWPOISON) < 0)
        broken("MADV_HWPOISON");
}

int advise(char *start, size_t size, int advice)
{
    return madvise(start, size, advice) < 0 ? errno : 0;
}

void collapse(char *start, size_t size)
{
    int attempts = 100, r;

    do
        r = advise(start, size, MADV_COLLAPSE);
    while (r == EAGAIN && --attempts > 0);
    if (r != 0)
        skip("no transparent huge page to be had: %s", errno_word(r));
}

const char *kept_or_dropped(char *page)
{
    int r = advise(page, 1, MADV_POPULATE_READ);

    if (r == 0)
        return "dropped";
    if (r != EHWPOISON)
        return errno_word(r);
    return touch(page, false, NULL) ? "kept" : "kept, but usable";
}
