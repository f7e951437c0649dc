/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * bare-poison: the least that making poison takes: for each page MADV_DONTNEED and UFFDIO_POISON
 *
 *     bare-poison MIB PAGES STRIDE
 *
 * Poisons PAGES pages, STRIDE pages from one to the next, of MIB MiB of anonymous memory with huge pages that has
 * been filled, as a guest's has, and prints the microseconds that took. bench/re-poisoning compares QEMU with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../tests/kernel/platform/compat.h"

#define PAGE 4096UL
#define MIB  (1UL << 20)
#define HUGE (2 * MIB)

static void die(const char *what)
{
    fprintf(stderr, "bare-poison: %s: %s\n", what, strerror(errno));
    exit(EXIT_FAILURE);
}

static char *map(size_t size)
{
    char *memory = mmap(NULL, size + HUGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (memory == MAP_FAILED)
        die("mmap");
    memory += -(unsigned long)memory % HUGE;
    madvise(memory, size, MADV_HUGEPAGE);
    memset(memory, 1, size);
    return memory;
}

static int open_registered(char *memory, size_t size)
{
    struct uffdio_api api = { .api = UFFD_API };
    struct uffdio_register reg = { .range = { (unsigned long)memory, size }, .mode = UFFDIO_REGISTER_MODE_MISSING };
    int uffd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg))
        die("userfaultfd");
    return uffd;
}

static void poison(int uffd, char *page)
{
    struct uffdio_poison arg = { .range = { (unsigned long)page, PAGE } };

    if (madvise(page, PAGE, MADV_DONTNEED))
        die("MADV_DONTNEED");
    if (ioctl(uffd, UFFDIO_POISON, &arg))
        die("UFFDIO_POISON");
}

int main(int argc, char **argv)
{
    size_t size = argc == 4 ? strtoul(argv[1], NULL, 10) * MIB : 0;
    unsigned long pages = argc == 4 ? strtoul(argv[2], NULL, 10) : 0, stride = argc == 4 ? strtoul(argv[3], NULL, 10) : 0;
    struct timespec start, end;
    char *memory;
    int uffd;

    if (!stride || pages * stride > size / PAGE) {
        fprintf(stderr, "usage: bare-poison MIB PAGES STRIDE, where so many pages have room\n");
        return 2;
    }
    memory = map(size);
    uffd = open_registered(memory, size);
    clock_gettime(CLOCK_MONOTONIC, &start);
    for (unsigned long i = 0; i < pages; i++)
        poison(uffd, memory + i * stride * PAGE);
    clock_gettime(CLOCK_MONOTONIC, &end);
    printf("%.0f\n", (double)(end.tv_sec - start.tv_sec) * 1e6 + (double)(end.tv_nsec - start.tv_nsec) / 1e3);
    return EXIT_SUCCESS;
}
