/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * platform: does this kernel behave as hwpoisond relies on?
 *
 * One program for all behaviours, so that it can be all there is in a machine: static, and with --init its
 * process 1, which mounts what it needs, reports to the console, and powers off. Each behaviour can be
 * looked at by its name. See platform.h for how one is written.
 *
 * A behaviour of patched kernels that is not seen is no failure unless --patched says that it is one:
 * whether a kernel has our series is told by whoever made it, never guessed from its version.
 */
#include <fcntl.h>
#include <getopt.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/reboot.h>
#include <unistd.h>

#include "../../hosts/guest/early.h"
#include "platform.h"
#include "report.h"

#define SYSLOG_ACTION_READ_ALL      3
#define SYSLOG_ACTION_CONSOLE_LEVEL 8

extern const struct behaviour *const __start_behaviours[];
extern const struct behaviour *const __stop_behaviours[];

static const struct behaviour **sorted;
static size_t count;

static int by_place(const void *a, const void *b)
{
    const struct behaviour *one = *(const struct behaviour *const *)a;
    const struct behaviour *other = *(const struct behaviour *const *)b;
    int files = strcmp(one->file, other->file);

    return files ? files : one->line - other->line;
}

/* The linker leaves them in any order. */
static void sort_behaviours(void)
{
    count = (size_t)(__stop_behaviours - __start_behaviours);
    sorted = calloc(count, sizeof(*sorted));
    if (!sorted)
        exit(2);
    memcpy(sorted, __start_behaviours, count * sizeof(*sorted));
    qsort(sorted, count, sizeof(*sorted), by_place);
}

static bool wanted(const struct behaviour *behaviour, char **names)
{
    if (!*names)
        return true;
    while (*names)
        if (strcmp(*names++, shown_name(behaviour)) == 0)
            return true;
    return false;
}

/* Returns the program's exit status. */
static int look_at_all(char **names, enum format format)
{
    size_t verdicts[SKIPPED + 1] = { 0 }, chosen = 0;

    for (size_t i = 0; i < count; i++)
        if (wanted(sorted[i], names))
            sorted[chosen++] = sorted[i];
    if (!chosen) {
        fprintf(stderr, "platform: no behaviour of that name; --list lists them\n");
        return 2;
    }
    report_plan(format, chosen);
    for (size_t i = 0; i < chosen; i++)
        verdicts[report(sorted[i], format)]++;
    return verdicts[BAD] ? 1 : verdicts[GOOD] ? 0 : 77;
}

static void list(void)
{
    for (size_t i = 0; i < count; i++)
        printf("%s\n", shown_name(sorted[i]));
}

/* As process 1 */

/* For whoever looks for the kernel's own mistakes in it. */
static void print_kernel_log(void)
{
    static char log[1 << 20];
    int length = klogctl(SYSLOG_ACTION_READ_ALL, log, sizeof(log));

    printf("kernel log:\n%.*s\nend of the kernel log\n", length < 0 ? 0 : length, log);
}

static void power_off(void)
{
    print_kernel_log();
    fflush(NULL);
    sync();
    reboot(RB_POWER_OFF);
}

static void become_init(void)
{
    int console;

    atexit(power_off);
    early_mount_basics("");
    early_mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
    console = open("/dev/console", O_RDWR);
    if (console < 0 || dup2(console, 0) < 0 || dup2(console, 1) < 0 || dup2(console, 2) < 0)
        early_die("/dev/console");
    /* What is reported must not run into lines of the kernel. */
    klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, NULL, 1);
    early_write_file("/proc/sys/vm/nr_hugepages", "16");
    printf("\n"); /* ends the line that the firmware left unfinished */
}

static void usage(FILE *to)
{
    fprintf(to, "Usage: platform [--patched] [--real] [--tap | --json] [--init] [NAME...]\n"
                "       platform --list\n"
                "\n"
                "Looks at what hwpoisond relies on in this kernel: all of it, or what is named.\n"
                "\n"
                "--patched  this kernel has our series: what only that does is needed, too\n"
                "--real     poison real pages, too, which takes them from this machine until it reboots\n"
                "--tap      results for a test harness\n"
                "--json     results as JSON, an object a line\n"
                "--init     be the only program of a machine\n"
                "\n"
                "Exit status: 0 as relied on, 1 not so, 77 nothing could be seen here.\n");
}

int main(int argc, char **argv)
{
    enum { OPT_PATCHED = 1, OPT_REAL, OPT_TAP, OPT_JSON, OPT_INIT, OPT_LIST, OPT_HELP };
    static const struct option table[] = {
        { "patched", no_argument, NULL, OPT_PATCHED },
        { "real", no_argument, NULL, OPT_REAL },
        { "tap", no_argument, NULL, OPT_TAP },
        { "json", no_argument, NULL, OPT_JSON },
        { "init", no_argument, NULL, OPT_INIT },
        { "list", no_argument, NULL, OPT_LIST },
        { "help", no_argument, NULL, OPT_HELP },
        { NULL, 0, NULL, 0 },
    };
    enum format format = TEXT;
    int option;

    sort_behaviours();
    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case OPT_PATCHED:
            platform_options.patched = true;
            break;
        case OPT_REAL:
            platform_options.real = true;
            break;
        case OPT_TAP:
            format = TAP;
            break;
        case OPT_JSON:
            format = JSON;
            break;
        case OPT_INIT:
            become_init();
            break;
        case OPT_LIST:
            list();
            return 0;
        case OPT_HELP:
            usage(stdout);
            return 0;
        default:
            usage(stderr);
            return 2;
        }
    }
    return look_at_all(argv + optind, format);
}
