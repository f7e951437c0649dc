/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The page tables that poison takes, and who pays for them. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "memory.h"
#include "platform.h"

SUBJECT("Page tables that poison takes");

enum { TABLES = 512 };

#define OF_A_TABLE ((size_t)2 << 20) /* what a page table maps, where pages are of 4 KiB */

/* What this process has in page tables, in KiB. */
static long table_kib(void)
{
    char line[128];
    long kib = -1;
    FILE *file = fopen("/proc/self/status", "re");

    while (file && kib < 0 && fgets(line, sizeof(line), file))
        sscanf(line, "VmPTE: %ld kB", &kib);
    if (kib < 0)
        broken("VmPTE in /proc/self/status");
    fclose(file);
    return kib;
}

/* Memory that takes many tables; nothing is in it. */
static struct area large_area(void)
{
    struct area area = map_area(PRIVATE, TABLES * OF_A_TABLE / 4096);

    if (area.page != 4096)
        skip("the pages here are not of 4 KiB");
    arm(&area);
    return area;
}

static void poison_scattered(const struct area *area)
{
    for (size_t n = 0; n < area->size / area->page; n += OF_A_TABLE / area->page)
        poison_page(area, n);
}

/* The few tables of the levels above are less than a table for each. */
static const char *tables_word(long before)
{
    long tables = (table_kib() - before) / 4;

    return tables >= TABLES && tables < TABLES + 8 ? "one for each 2 MiB"
                                                   : seen("%ld for %d times 2 MiB", tables, TABLES);
}

BEHAVIOUR(tables_taken, ALWAYS("one for each 2 MiB"), "the agent limits what scattered poison costs",
          "daemon/ledger.c")
{
    struct area area = large_area();
    long before = table_kib();

    poison_scattered(&area);
    return tables_word(before);
}

BEHAVIOUR(tables_stay, INFORMATIVE, "after a discard the agent counts them as if they stayed",
          "daemon/ledger.c")
{
    struct area area = large_area();
    long before = table_kib();

    poison_scattered(&area);
    if (advise(area.start, area.size, MADV_DONTNEED) != 0)
        broken("MADV_DONTNEED");
    return (table_kib() - before) / 4 >= TABLES ? "they stay" : "given back";
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        skip("%s: %s", path, errno_word(errno));
    close(fd);
}

/* Bytes that a cgroup is charged for. */
static long charged(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
        broken(path);
    close(fd);
    return atol(text);
}

/* In the child, which has the userfaultfd of its parent, and is in a cgroup of its own. */
static const char *poison_and_look_at_charge(void *area)
{
    long before;

    write_file("/sys/fs/cgroup/agent/cgroup.procs", "0");
    before = charged("/sys/fs/cgroup/agent/memory.current");
    poison_scattered(area);
    /* Half of it: the kernel charges in advance, and counts lazily. */
    return charged("/sys/fs/cgroup/agent/memory.current") - before > TABLES * 4096 / 2 ? "the caller"
                                                                                       : "the owner";
}

BEHAVIOUR(tables_charged, INFORMATIVE,
          "the agent pays for the tables of all VMMs: one VMM must not use up what it may have",
          "daemon/ledger.c")
{
    struct area area;

    if (!platform_options.real)
        skip("makes cgroups: only with --real, in a virtual host");
    if (mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL) < 0 && errno != EBUSY)
        skip("cgroup2: %s", errno_word(errno));
    write_file("/sys/fs/cgroup/cgroup.subtree_control", "+memory");
    if (mkdir("/sys/fs/cgroup/agent", 0755) < 0 && errno != EEXIST)
        broken("mkdir");
    area = large_area();
    return in_child(poison_and_look_at_charge, &area);
}
