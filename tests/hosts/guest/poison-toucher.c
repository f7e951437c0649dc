/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * poison-toucher: touch one poisoned page over and over, and count what comes of it
 *
 * The program poisons a page of its own, then loads from and stores to it
 * --touches times in user mode.  Each touch should raise SIGBUS, from which it
 * jumps back.  What poisons the page is
 *
 *   emulated  UFFDIO_POISON;
 *   collapsed the same on shared memory, which becomes a huge page after that
 *             (--collapse); a child does not inherit this one;
 *   real      MADV_HWPOISON (--real);
 *   swap      a read error of the swap device DEVICE at swapoff (--swap-error
 *             DEVICE), which is made to fail by whoever gave the machine that
 *             device, for a few of its first 256 pages.
 *
 * It ends with one JSON line on standard output:
 *
 *   {"kernel":"6.12.95","mode":"emulated","hugetlb":false,"fork":false,
 *    "touches":1000,"sigbus":1000,"si_code":"BUS_MCEERR_AR","si_addr_lsb":12,
 *    "mce_log_lines":0}
 *
 * "mce_log_lines" counts the "MCE: Killing" lines the kernel logged meanwhile, and
 * is there with --count-log only.  The log is a ring: to miss no line the program
 * reads it every few touches; should lines have been lost nevertheless, it fails
 * rather than report a number that is too small.
 *
 * With --storm SECONDS it is a hostile program instead (poison-storm.h), and
 * reports
 *
 *   {"kernel":"6.12.95","mode":"storm","seconds":10,"threads":4,"rounds":90000,
 *    "touches":720000,"sigbus":720000,"mce_log_lines":0,"log_lines_lost":0}
 *
 * where lines that were overwritten before they could be read are told as lost.
 *
 * With --init it is all that a machine needs to boot: as /init of an initramfs of
 * this one static file, it mounts what it needs, reports to the console and powers
 * the machine off.  Arguments go on the kernel command line after "--".
 */
#include "early.h"
#include "kernel-log.h"
#include "poison-sources.h"
#include "poison-storm.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

/* So few lines that no kernel's log wraps before they are read. */
#define TOUCHES_PER_LOG_READ           64

#define CONSOLE_LEVEL_EMERGENCIES_ONLY 1
#define SYSLOG_ACTION_CONSOLE_LEVEL    8

enum source { EMULATED, COLLAPSED, REAL, SWAP_ERROR };

static const char *const source_names[] = { "emulated", "collapsed", "real", "swap" };

struct options {
    unsigned long touches;
    unsigned long storm_seconds; /* or 0 */
    enum source source;
    const char *swap_device;
    bool fork;
    bool hugetlb;
    bool count_log;
    bool init;
};

/* What the touches came to.  Shared with the child that does them for --fork. */
struct outcome {
    unsigned long sigbus;
    unsigned long mce_log_lines;
    int code;
    int addr_lsb;
    bool differing; /* not all the signals were alike */
};

/* Signals and their codes */

static const char *si_code_name(const struct outcome *outcome)
{
    if (!outcome->sigbus)
        return "none";
    if (outcome->differing)
        return "differing";
    switch (outcome->code) {
    case BUS_MCEERR_AR:
        return "BUS_MCEERR_AR";
    case BUS_MCEERR_AO:
        return "BUS_MCEERR_AO";
    case BUS_ADRERR:
        return "BUS_ADRERR";
    default:
        return "other";
    }
}

static void note_signal(struct outcome *outcome, const char *page, size_t size)
{
    uintptr_t offset = (uintptr_t)last_sigbus.si_addr - (uintptr_t)page;

    if (outcome->sigbus &&
        (last_sigbus.si_code != outcome->code || last_sigbus.si_addr_lsb != outcome->addr_lsb))
        outcome->differing = true;
    if (offset >= size)
        outcome->differing = true;
    outcome->code = last_sigbus.si_code;
    outcome->addr_lsb = last_sigbus.si_addr_lsb;
    outcome->sigbus++;
}

static void note_log(struct kernel_log *log, struct outcome *outcome)
{
    kernel_log_read(log);
    if (log->lost) {
        errno = EPIPE;
        fail("kernel log overran, lines were lost");
    }
    outcome->mce_log_lines = log->mce_lines;
}

/* Touches */

static void touch(volatile char *page, size_t size, unsigned long nth)
{
    size_t offset = nth * 64 % size;

    if (nth % 2)
        page[offset] = 1;
    else
        (void)page[offset];
}

static void touch_all(char *page, size_t size, const struct options *options, struct kernel_log *log,
                      struct outcome *outcome)
{
    for (volatile unsigned long nth = 0; nth < options->touches; nth++) {
        if (!sigsetjmp(after_sigbus, 0))
            touch(page, size, nth);
        else
            note_signal(outcome, page, size);
        if (log && nth % TOUCHES_PER_LOG_READ == 0)
            kernel_log_read(log);
    }
    if (log)
        note_log(log, outcome);
}

static void touch_all_in_child(char *page, size_t size, const struct options *options,
                               struct kernel_log *log, struct outcome *outcome)
{
    int status;
    pid_t child = fork();

    if (child < 0)
        fail("fork");
    if (child == 0) {
        touch_all(page, size, options, log, outcome);
        _exit(0);
    }
    if (waitpid(child, &status, 0) < 0)
        fail("waitpid");
    if (status != 0) {
        errno = ECHILD;
        fail("the child that touches failed");
    }
}

static const char *truth(bool value)
{
    return value ? "true" : "false";
}

static void report(const struct options *options, const struct outcome *outcome)
{
    struct utsname name;

    uname(&name);
    printf("{\"kernel\":\"%s\",\"mode\":\"%s\",\"hugetlb\":%s,\"fork\":%s,", name.release,
           source_names[options->source], truth(options->hugetlb), truth(options->fork));
    printf("\"touches\":%lu,\"sigbus\":%lu,\"si_code\":\"%s\",\"si_addr_lsb\":%d", options->touches,
           outcome->sigbus, si_code_name(outcome), outcome->addr_lsb);
    if (options->count_log)
        printf(",\"mce_log_lines\":%lu", outcome->mce_log_lines);
    printf("}\n");
    fflush(stdout);
}

static char *poisoned_page(const struct options *options)
{
    switch (options->source) {
    case COLLAPSED:
        return poison_emulated_collapsed();
    case REAL:
        return poison_real(options->hugetlb);
    case SWAP_ERROR:
        return poison_by_swap_error(options->swap_device);
    default:
        return poison_emulated(options->hugetlb);
    }
}

/* Returns: whether each touch raised one SIGBUS, and all of them alike. */
static bool run(const struct options *options)
{
    size_t size = poison_page_size(options->hugetlb);
    struct outcome *outcome =
        mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    struct kernel_log kernel_log, *log = options->count_log ? &kernel_log : NULL;
    char *page;

    if (outcome == MAP_FAILED)
        fail("mmap");
    page = poisoned_page(options);
    if (log)
        kernel_log_open(log);
    if (options->fork)
        touch_all_in_child(page, size, options, log, outcome);
    else
        touch_all(page, size, options, log, outcome);
    report(options, outcome);
    return outcome->sigbus == options->touches && !outcome->differing;
}

/* Returns: whether each touch raised the SIGBUS that it should. */
static bool run_storm(const struct options *options)
{
    struct kernel_log kernel_log, *log = options->count_log ? &kernel_log : NULL;
    struct poison_storm storm;
    struct utsname name;

    uname(&name);
    if (log)
        kernel_log_open(log);
    storm = poison_storm(options->storm_seconds, log);
    printf("{\"kernel\":\"%s\",\"mode\":\"storm\",\"seconds\":%lu,\"threads\":%d,", name.release,
           options->storm_seconds, POISON_STORM_THREADS);
    printf("\"rounds\":%lu,\"touches\":%lu,\"sigbus\":%lu", storm.rounds, storm.touches, storm.sigbus);
    if (log)
        printf(",\"mce_log_lines\":%lu,\"log_lines_lost\":%lu", log->mce_lines, log->lost);
    printf("}\n");
    fflush(stdout);
    return storm.sigbus == storm.touches;
}

/* As the first program of a machine */

static void power_off(void)
{
    fflush(NULL);
    sync();
    reboot(RB_POWER_OFF);
}

/* Whatever happens from here on, the machine is powered off, not left in a panic. */
static void become_init(const struct options *options)
{
    int console;

    atexit(power_off);
    early_mount_basics("");
    console = open("/dev/console", O_RDWR);
    if (console < 0 || dup2(console, 0) < 0 || dup2(console, 1) < 0 || dup2(console, 2) < 0)
        fail("/dev/console");
    /* The lines that are counted must not run into the one that reports them. */
    if (klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, NULL, CONSOLE_LEVEL_EMERGENCIES_ONLY) < 0)
        fail("console log level");
    if (options->hugetlb && early_write_file("/proc/sys/vm/nr_hugepages", "2") < 0)
        fail("/proc/sys/vm/nr_hugepages");
    /* End the line that the firmware left unfinished. */
    printf("\n");
}

static void usage(FILE *to)
{
    fprintf(to, "usage: poison-toucher [--touches N] [--real | --swap-error DEVICE | --collapse]\n"
                "                      [--fork] [--hugetlb] [--count-log] [--init]\n"
                "       poison-toucher --storm SECONDS [--count-log] [--init]\n"
                "\n"
                "  --touches N   how often to touch the page (1)\n"
                "  --storm SECONDS\n"
                "                poison, touch and heal pages in several threads for so long\n"
                "  --real        MADV_HWPOISON: takes a page from this machine until it reboots\n"
                "  --swap-error DEVICE\n"
                "                swap out to DEVICE, which must fail to read some of it back\n"
                "  --collapse    shared memory, which is made a huge page after it was poisoned\n"
                "  --fork        touch in a child, which inherits the poison\n"
                "  --hugetlb     a huge page (the machine must have one to spare for --real)\n"
                "  --count-log   count the kernel's \"MCE: Killing\" lines\n"
                "  --init        be the only program of a machine; implies --count-log\n");
}

static unsigned long parse_count(const char *text)
{
    char *end;
    unsigned long count;

    errno = 0;
    count = strtoul(text, &end, 10);
    if (errno || end == text || *end || *text == '-') {
        fprintf(stderr, "poison-toucher: not a number: %s\n", text);
        exit(2);
    }
    return count;
}

static void parse_options(int argc, char **argv, struct options *options)
{
    enum {
        OPT_TOUCHES = 1,
        OPT_STORM,
        OPT_REAL,
        OPT_SWAP_ERROR,
        OPT_COLLAPSE,
        OPT_FORK,
        OPT_HUGETLB,
        OPT_COUNT_LOG,
        OPT_INIT,
        OPT_HELP
    };
    static const struct option table[] = {
        { "touches", required_argument, NULL, OPT_TOUCHES },
        { "storm", required_argument, NULL, OPT_STORM },
        { "real", no_argument, NULL, OPT_REAL },
        { "swap-error", required_argument, NULL, OPT_SWAP_ERROR },
        { "collapse", no_argument, NULL, OPT_COLLAPSE },
        { "fork", no_argument, NULL, OPT_FORK },
        { "hugetlb", no_argument, NULL, OPT_HUGETLB },
        { "count-log", no_argument, NULL, OPT_COUNT_LOG },
        { "init", no_argument, NULL, OPT_INIT },
        { "help", no_argument, NULL, OPT_HELP },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case OPT_TOUCHES:
            options->touches = parse_count(optarg);
            break;
        case OPT_STORM:
            options->storm_seconds = parse_count(optarg);
            break;
        case OPT_REAL:
            options->source = REAL;
            break;
        case OPT_SWAP_ERROR:
            options->source = SWAP_ERROR;
            options->swap_device = optarg;
            break;
        case OPT_COLLAPSE:
            options->source = COLLAPSED;
            break;
        case OPT_FORK:
            options->fork = true;
            break;
        case OPT_HUGETLB:
            options->hugetlb = true;
            break;
        case OPT_COUNT_LOG:
            options->count_log = true;
            break;
        case OPT_INIT:
            options->init = options->count_log = true;
            break;
        case OPT_HELP:
            usage(stdout);
            exit(0);
        default:
            usage(stderr);
            exit(2);
        }
    }
}

int main(int argc, char **argv)
{
    struct options options = { .touches = 1 };

    parse_options(argc, argv, &options);
    if (optind != argc) {
        usage(stderr);
        return 2;
    }
    if (options.init)
        become_init(&options);
    catch_sigbus();
    return (options.storm_seconds ? run_storm(&options) : run(&options)) ? 0 : 1;
}
