/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * kernel-paths: how many instructions the kernel takes for page faults and fork
 *
 * Runs as /init of a machine of one processor whose time stamp counter counts instructions (QEMU's
 * `-icount shift=0`), so that two kernels can be compared to a part in a thousand. Nothing else runs there,
 * and no poison is anywhere. It ends with one JSON line on the console and powers the machine off:
 *
 *   {"kernel":"6.12.117","anonymous_fault":N,"shmem_fault":N,"fork_anonymous":N,"fork_pfnmap":N}
 *
 * The first two are instructions for each page fault that maps a page of zeros; the others for one fork()
 * of a process that has 1 GiB of small anonymous pages, or 1 GiB of a device in huge leaves (null without the
 * card of huge-pfnmap.h), and whose child exits at once. Each is the median of several rounds, as a tick of
 * the timer falls into some.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include <x86intrin.h>

#include "../tests/hosts/guest/early.h"
#include "../tests/hosts/guest/huge-pfnmap.h"

#define PAGE_SIZE    4096UL
#define FAULT_AREA   (4UL << 20)
#define FORK_AREA    (1UL << 30)
#define ROUNDS       31
#define PFNMAP_FORKS 64

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof(*values), compare);
    return values[n / 2];
}

static char *map(size_t size, int flags)
{
    char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

    if (memory == MAP_FAILED)
        early_die("mmap: %s", strerror(errno));
    madvise(memory, size, MADV_NOHUGEPAGE);
    return memory;
}

static void touch(char *memory, size_t size)
{
    for (size_t i = 0; i < size; i += PAGE_SIZE)
        __atomic_store_n(memory + i, 1, __ATOMIC_RELAXED);
}

static double faults(int flags)
{
    double counts[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        char *memory = map(FAULT_AREA, flags);
        uint64_t start = __rdtsc();

        touch(memory, FAULT_AREA);
        counts[i] = (double)(__rdtsc() - start) / (FAULT_AREA / PAGE_SIZE);
        munmap(memory, FAULT_AREA);
    }
    return median(counts, ROUNDS);
}

static double one_fork(void)
{
    uint64_t start = __rdtsc(), end;
    pid_t child = fork();

    end = __rdtsc();
    if (child < 0)
        early_die("fork: %s", strerror(errno));
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    return (double)(end - start);
}

static double forks(int rounds)
{
    double counts[PFNMAP_FORKS];

    for (int i = 0; i < rounds; i++)
        counts[i] = one_fork();
    return median(counts, rounds);
}

static double fork_anonymous(void)
{
    char *memory = map(FORK_AREA, MAP_PRIVATE);
    double count;

    touch(memory, FORK_AREA);
    count = forks(5);
    munmap(memory, FORK_AREA);
    return count;
}

static void print_fork_pfnmap(void)
{
    const char *card = huge_pfnmap_bind();

    if (!card)
        printf("\"fork_pfnmap\":null}\n");
    else if (!huge_pfnmap_map(card, 0))
        early_die("%s: %s", card, strerror(errno));
    else
        printf("\"fork_pfnmap\":%.0f}\n", forks(PFNMAP_FORKS));
}

int main(void)
{
    struct utsname names;

    early_mount_basics("");
    uname(&names);
    setvbuf(stdout, NULL, _IOFBF, BUFSIZ);
    printf("{\"kernel\":\"%s\",\"anonymous_fault\":%.1f,", names.release, faults(MAP_PRIVATE));
    printf("\"shmem_fault\":%.1f,", faults(MAP_SHARED));
    printf("\"fork_anonymous\":%.0f,", fork_anonymous());
    print_fork_pfnmap();
    fflush(stdout);
    reboot(RB_POWER_OFF);
    return 0;
}
