/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * poison-toucher: touch one poisoned page over and over, and count what comes of it
 *
 * The program poisons a page of its own, by UFFDIO_POISON (emulated) or, with
 * --real, by MADV_HWPOISON, then loads from and stores to it --touches times in
 * user mode.  Each touch should raise SIGBUS, from which it jumps back.  It ends
 * with one JSON line on standard output:
 *
 *   {"kernel":"6.12.95","mode":"emulated","hugetlb":false,"fork":false,
 *    "touches":1000,"sigbus":1000,"si_code":"BUS_MCEERR_AR","si_addr_lsb":12,
 *    "mce_log_lines":0}
 *
 * "mce_log_lines" counts the "MCE: Killing" lines the kernel logged meanwhile, and
 * is there with --count-log only.  /dev/kmsg is a ring: to miss no line the
 * program reads it every few touches, and the kernel tells it (EPIPE) should a
 * line have been lost nevertheless; then the program fails rather than report a
 * number that is too small.
 *
 * With --init it is all that a machine needs to boot: as /init of an initramfs of
 * this one static file, it mounts what it needs, reports to the console and powers
 * the machine off.  Arguments go on the kernel command line after "--".
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/userfaultfd.h>

/* Headers older than Linux 6.6 lack UFFDIO_POISON. */
#ifndef UFFDIO_POISON
#define UFFD_FEATURE_POISON (1 << 14)
#define _UFFDIO_POISON      (0x08)
struct uffdio_poison {
    struct uffdio_range range;
    __u64 mode;
    __s64 updated;
};
#define UFFDIO_POISON _IOWR(UFFDIO, _UFFDIO_POISON, struct uffdio_poison)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* So few lines that no kernel's log wraps before they are read. */
#define TOUCHES_PER_LOG_READ           64

#define CONSOLE_LEVEL_EMERGENCIES_ONLY 1
#define SYSLOG_ACTION_CONSOLE_LEVEL    8

struct options {
    unsigned long touches;
    bool real;
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

static sigjmp_buf after_sigbus;
static siginfo_t last_sigbus;

static void fail(const char *what)
{
    fprintf(stderr, "poison-toucher: %s: %s\n", what, strerror(errno));
    exit(1);
}

/* Signals and their codes */

static void on_sigbus(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    last_sigbus = *info;
    siglongjmp(after_sigbus, 1);
}

static void catch_sigbus(void)
{
    /* SA_NODEFER: the handler is left by a jump that does not restore the mask. */
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };

    if (sigaction(SIGBUS, &action, NULL) < 0)
        fail("sigaction");
}

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

/* The kernel log */

/* Opens the log at its end.  Each read() yields one record, non-blocking. */
static int open_log(void)
{
    int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0 || lseek(fd, 0, SEEK_END) < 0)
        fail("/dev/kmsg");
    return fd;
}

static void read_log(int fd, struct outcome *outcome)
{
    char record[8192];
    ssize_t length;

    while ((length = read(fd, record, sizeof(record) - 1)) >= 0) {
        record[length] = '\0';
        if (strstr(record, "MCE: Killing"))
            outcome->mce_log_lines++;
    }
    if (errno != EAGAIN)
        fail(errno == EPIPE ? "kernel log overran, lines were lost" : "reading /dev/kmsg");
}

/* Poison */

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

static char *map_page(size_t size, bool hugetlb)
{
    int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (hugetlb ? MAP_HUGETLB : 0);
    char *page = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);

    if (page == MAP_FAILED)
        fail("mmap");
    return page;
}

static int open_userfaultfd(bool hugetlb)
{
    struct uffdio_api api = {
        .api = UFFD_API,
        .features = UFFD_FEATURE_POISON | (hugetlb ? UFFD_FEATURE_MISSING_HUGETLBFS : 0),
    };
    int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | UFFD_USER_MODE_ONLY);

    if (uffd < 0)
        fail("userfaultfd");
    if (ioctl(uffd, UFFDIO_API, &api) < 0)
        fail("userfaultfd without the features that are needed");
    return uffd;
}

/* The marker stays in the page table when the descriptor is closed. */
static void poison_emulated(char *page, size_t size, bool hugetlb)
{
    struct uffdio_range range = { .start = (uintptr_t)page, .len = size };
    struct uffdio_register reg = { .range = range, .mode = UFFDIO_REGISTER_MODE_MISSING };
    struct uffdio_poison poison = { .range = range };
    int uffd = open_userfaultfd(hugetlb);

    if (ioctl(uffd, UFFDIO_REGISTER, &reg) < 0)
        fail("UFFDIO_REGISTER");
    if (ioctl(uffd, UFFDIO_POISON, &poison) < 0 || poison.updated != (int64_t)size)
        fail("UFFDIO_POISON");
    close(uffd);
}

/* The kernel signals the error once at the call already, as it would to its finder. */
static void poison_real(char *page, size_t size)
{
    if (madvise(page, size, MADV_POPULATE_WRITE) < 0)
        fail("MADV_POPULATE_WRITE");
    if (!sigsetjmp(after_sigbus, 0) && madvise(page, sysconf(_SC_PAGESIZE), MADV_HWPOISON) < 0)
        fail("MADV_HWPOISON");
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

static void touch_all(char *page, size_t size, const struct options *options, int log,
                      struct outcome *outcome)
{
    for (volatile unsigned long nth = 0; nth < options->touches; nth++) {
        if (!sigsetjmp(after_sigbus, 0))
            touch(page, size, nth);
        else
            note_signal(outcome, page, size);
        if (log >= 0 && nth % TOUCHES_PER_LOG_READ == 0)
            read_log(log, outcome);
    }
    if (log >= 0)
        read_log(log, outcome);
}

static void touch_all_in_child(char *page, size_t size, const struct options *options, int log,
                               struct outcome *outcome)
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
           options->real ? "real" : "emulated", truth(options->hugetlb), truth(options->fork));
    printf("\"touches\":%lu,\"sigbus\":%lu,\"si_code\":\"%s\",\"si_addr_lsb\":%d", options->touches,
           outcome->sigbus, si_code_name(outcome), outcome->addr_lsb);
    if (options->count_log)
        printf(",\"mce_log_lines\":%lu", outcome->mce_log_lines);
    printf("}\n");
    fflush(stdout);
}

/* Returns: whether each touch raised one SIGBUS, and all of them alike. */
static bool run(const struct options *options)
{
    size_t size = options->hugetlb ? huge_page_size() : (size_t)sysconf(_SC_PAGESIZE);
    char *page = map_page(size, options->hugetlb);
    struct outcome *outcome =
        mmap(NULL, sizeof(*outcome), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int log;

    if (outcome == MAP_FAILED)
        fail("mmap");
    catch_sigbus();
    if (options->real)
        poison_real(page, size);
    else
        poison_emulated(page, size, options->hugetlb);
    log = options->count_log ? open_log() : -1;
    if (options->fork)
        touch_all_in_child(page, size, options, log, outcome);
    else
        touch_all(page, size, options, log, outcome);
    report(options, outcome);
    return outcome->sigbus == options->touches && !outcome->differing;
}

/* As the first program of a machine */

static void power_off(void)
{
    fflush(NULL);
    sync();
    reboot(RB_POWER_OFF);
}

static void write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        fail(path);
    close(fd);
}

static void mount_at(const char *type, const char *where)
{
    mkdir(where, 0755);
    if (mount(type, where, type, 0, NULL) < 0 && errno != EBUSY)
        fail(where);
}

/* Whatever happens from here on, the machine is powered off, not left in a panic. */
static void become_init(const struct options *options)
{
    int console;

    atexit(power_off);
    mount_at("devtmpfs", "/dev");
    mount_at("proc", "/proc");
    console = open("/dev/console", O_RDWR);
    if (console < 0 || dup2(console, 0) < 0 || dup2(console, 1) < 0 || dup2(console, 2) < 0)
        fail("/dev/console");
    /* The lines that are counted must not run into the one that reports them. */
    if (klogctl(SYSLOG_ACTION_CONSOLE_LEVEL, NULL, CONSOLE_LEVEL_EMERGENCIES_ONLY) < 0)
        fail("console log level");
    if (options->hugetlb)
        write_text("/proc/sys/vm/nr_hugepages", "2");
    /* End the line that the firmware left unfinished. */
    printf("\n");
}

static void usage(FILE *to)
{
    fprintf(to, "usage: poison-toucher [--touches N] [--real] [--fork] [--hugetlb] [--count-log] [--init]\n"
                "\n"
                "  --touches N   how often to touch the page (1)\n"
                "  --real        MADV_HWPOISON: takes a page from this machine until it reboots\n"
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
        fprintf(stderr, "poison-toucher: not a number of touches: %s\n", text);
        exit(2);
    }
    return count;
}

static void parse_options(int argc, char **argv, struct options *options)
{
    enum { TOUCHES = 1, REAL, FORK, HUGETLB, COUNT_LOG, INIT, HELP };
    static const struct option table[] = {
        { "touches", required_argument, NULL, TOUCHES },
        { "real", no_argument, NULL, REAL },
        { "fork", no_argument, NULL, FORK },
        { "hugetlb", no_argument, NULL, HUGETLB },
        { "count-log", no_argument, NULL, COUNT_LOG },
        { "init", no_argument, NULL, INIT },
        { "help", no_argument, NULL, HELP },
        { NULL, 0, NULL, 0 },
    };
    int option;

    while ((option = getopt_long(argc, argv, "", table, NULL)) != -1) {
        switch (option) {
        case TOUCHES:
            options->touches = parse_count(optarg);
            break;
        case REAL:
            options->real = true;
            break;
        case FORK:
            options->fork = true;
            break;
        case HUGETLB:
            options->hugetlb = true;
            break;
        case COUNT_LOG:
            options->count_log = true;
            break;
        case INIT:
            options->init = options->count_log = true;
            break;
        case HELP:
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
    return run(&options) ? 0 : 1;
}
