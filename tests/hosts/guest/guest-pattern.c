/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The guest of the tests: process 1 of a small Linux machine that knows what each of its pages holds.
 *
 * It fills 64 MiB of anonymous 4 KiB pages with a pattern made from the page number, then answers
 * commands that come over a virtio-serial port, one line each, with one line of JSON each:
 *
 *   hello               {"pages":16384,"page_size":4096,"release":"…"}
 *   gpa N...            {"gpa":[…]}: guest-physical addresses of these pages
 *   known N...          {"known":[…]}: those that this guest's own kernel has marked as poisoned
 *   check               reads every byte of every page, see guest-check.c
 *   check-only N...     the same for these pages
 *   check-but N...      the same for all others
 *   early-kill          ask the kernel for a SIGBUS as soon as it hears of a bad page
 *   poll-errors SECS    how often the kernel reads its machine check banks (0: never)
 *   console LEVEL       which lines of the kernel's go to the console: those below this level (0: none)
 *   await-ao N SECS     waits until N advisory SIGBUS (BUS_MCEERR_AO) have come: {"ao_signals":N}
 *   dirty start [N...]  rewrite pages over and over, but for these, from a second thread
 *   dirty stop          {"rounds":N}
 *   rewrite N...        rewrite these pages once
 *   klog                {"klog":"…"}: the kernel log
 *   reset, off          restart or power off the machine: no answer
 *   …                   touches by the kernel and by devices, see guest-touch.c
 *
 * The kernel looks into its machine check banks every five minutes by itself. That is switched off at
 * the start: a page then stays mapped in this program until it is really touched, or until a test
 * says poll-errors.
 */
#include "guest-pattern.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kernel-page-flags.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "early.h"
#include "guest-touch.h"

#define PORT "hwp.pattern"
#define CONSOLE_LEVEL "/proc/sys/kernel/printk"
#define POLL_INTERVAL "/sys/devices/system/machinecheck/machinecheck0/check_interval"
#define PAGEMAP_PRESENT (1ULL << 63)
#define PAGEMAP_PFN ((1ULL << 55) - 1)
#define KLOG_READ_ALL 3
#define KLOG_SIZE 10

struct guest guest;

static FILE *answers;

void answer(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vfprintf(answers, format, args);
    va_end(args);
}

/* Whether this guest's own kernel has marked the page as poisoned. */
static bool page_known_bad(uint32_t page)
{
    uint64_t flags = 0;
    off_t at = (off_t)(guest.pages[page].gpa / GUEST_PAGE_SIZE * sizeof(flags));

    if (pread(guest.kpageflags, &flags, sizeof(flags), at) != sizeof(flags))
        early_die("/proc/kpageflags: %s", strerror(errno));
    return flags & (1ULL << KPF_HWPOISON);
}

void look_up_pages(void)
{
    static uint64_t entries[GUEST_PAGES];
    off_t at = (off_t)((uintptr_t)guest.memory / GUEST_PAGE_SIZE * sizeof(entries[0]));

    if (pread(guest.pagemap, entries, sizeof(entries), at) != sizeof(entries))
        early_die("/proc/self/pagemap: %s", strerror(errno));
    for (uint32_t page = 0; page < GUEST_PAGES; page++) {
        guest.pages[page].mapped = entries[page] & PAGEMAP_PRESENT;
        if (guest.pages[page].mapped)
            guest.pages[page].gpa = (entries[page] & PAGEMAP_PFN) * GUEST_PAGE_SIZE;
    }
}

static int open_table(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        early_die("%s: %s", path, strerror(errno));
    return fd;
}

static void allocate(void)
{
    guest.memory = mmap(NULL, GUEST_PAGES * GUEST_PAGE_SIZE, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (guest.memory == MAP_FAILED)
        early_die("mmap: %s", strerror(errno));
    /* 4 KiB pages only, so that one bad page is one page of the pattern. */
    if (madvise(guest.memory, GUEST_PAGES * GUEST_PAGE_SIZE, MADV_NOHUGEPAGE) < 0)
        early_die("madvise: %s", strerror(errno));
    for (uint32_t page = 0; page < GUEST_PAGES; page++)
        fill_page(page);
    guest.pagemap = open_table("/proc/self/pagemap");
    guest.kpageflags = open_table("/proc/kpageflags");
    look_up_pages();
    for (uint32_t page = 0; page < GUEST_PAGES; page++)
        if (guest.pages[page].gpa == 0)
            early_die("page %u has no physical address", page);
}

static void do_hello(void)
{
    struct utsname name;

    uname(&name);
    answer("{\"pages\":%u,\"page_size\":%u,\"release\":\"%s\"}", GUEST_PAGES, GUEST_PAGE_SIZE,
           name.release);
}

static void do_gpa(const struct page_list *list)
{
    look_up_pages();
    answer("{\"gpa\":[");
    for (uint32_t i = 0; i < list->count; i++)
        answer("%s%llu", i ? "," : "", (unsigned long long)guest.pages[list->pages[i]].gpa);
    answer("]}");
}

static void do_known(const struct page_list *list)
{
    const char *separator = "";

    look_up_pages();
    answer("{\"known\":[");
    for (uint32_t i = 0; i < list->count; i++) {
        if (page_known_bad(list->pages[i])) {
            answer("%s%u", separator, list->pages[i]);
            separator = ",";
        }
    }
    answer("]}");
}

static void do_early_kill(void)
{
    int result = prctl(PR_MCE_KILL, PR_MCE_KILL_SET, PR_MCE_KILL_EARLY, 0, 0);

    answer("{\"error\":%d}", result < 0 ? errno : 0);
}

static void do_set(const char *path, const char *value)
{
    answer("{\"error\":%d}", -early_write_file(path, value));
}

static void do_await_ao(unsigned int wanted, int seconds)
{
    struct timespec now, end;
    sigset_t blocked, open_to;

    /* The signal must come while we wait and not just before: blocked outside ppoll. */
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGBUS);
    sigprocmask(SIG_BLOCK, &blocked, &open_to);
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += seconds;
    while (guest.ao_signals < (int)wanted) {
        struct timespec left = { 1, 0 };

        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec >= end.tv_sec)
            break;
        ppoll(NULL, 0, &left, &open_to);
    }
    sigprocmask(SIG_SETMASK, &open_to, NULL);
    answer("{\"ao_signals\":%d}", guest.ao_signals);
}

static void do_klog(void)
{
    int size = klogctl(KLOG_SIZE, NULL, 0);
    char *text = malloc((size_t)size);
    int length = text ? klogctl(KLOG_READ_ALL, text, size) : 0;

    answer("{\"klog\":\"");
    for (int i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];

        if (c == '"' || c == '\\')
            answer("\\%c", c);
        else if (c < 0x20 || c >= 0x7f)
            answer("\\u%04x", c);
        else
            fputc(c, answers);
    }
    answer("\"}");
    free(text);
}

static void parse_pages(char *words, struct page_list *list)
{
    static uint32_t pages[GUEST_PAGES];

    *list = (struct page_list){ .pages = pages };
    for (char *word = strtok(words, " "); word; word = strtok(NULL, " ")) {
        unsigned long page = strtoul(word, NULL, 10);

        if (page < GUEST_PAGES && list->count < GUEST_PAGES)
            pages[list->count++] = (uint32_t)page;
    }
}

static bool starts(char *line, const char *command, char **rest)
{
    size_t length = strlen(command);

    if (strncmp(line, command, length) != 0 || (line[length] != ' ' && line[length] != '\0'))
        return false;
    *rest = line + length;
    return true;
}

static void handle(char *line)
{
    struct page_list list;
    unsigned int count;
    char *rest;
    int seconds;

    if (starts(line, "hello", &rest)) {
        do_hello();
    } else if (starts(line, "gpa", &rest)) {
        parse_pages(rest, &list);
        do_gpa(&list);
    } else if (starts(line, "known", &rest)) {
        parse_pages(rest, &list);
        do_known(&list);
    } else if (starts(line, "check", &rest)) {
        check_all_but(&(struct page_list){ 0 });
    } else if (starts(line, "check-only", &rest)) {
        parse_pages(rest, &list);
        check_only(&list);
    } else if (starts(line, "check-but", &rest)) {
        parse_pages(rest, &list);
        check_all_but(&list);
    } else if (starts(line, "early-kill", &rest)) {
        do_early_kill();
    } else if (starts(line, "poll-errors", &rest)) {
        do_set(POLL_INTERVAL, rest + 1);
    } else if (starts(line, "console", &rest)) {
        do_set(CONSOLE_LEVEL, rest + 1);
    } else if (sscanf(line, "await-ao %u %d", &count, &seconds) == 2) {
        do_await_ao(count, seconds);
    } else if (starts(line, "dirty start", &rest)) {
        parse_pages(rest, &list);
        dirty_start(&list);
    } else if (starts(line, "dirty stop", &rest)) {
        dirty_stop();
    } else if (starts(line, "rewrite", &rest)) {
        parse_pages(rest, &list);
        rewrite(&list);
    } else if (starts(line, "klog", &rest)) {
        do_klog();
    } else if (starts(line, "reset", &rest)) {
        reboot(RB_AUTOBOOT);
    } else if (starts(line, "off", &rest)) {
        reboot(RB_POWER_OFF);
    } else if (!touch_command(line)) {
        answer("{\"unknown\":true}");
    }
    answer("\n");
    fflush(answers);
}

/* The port at its end has no blocking call to wait for a new peer, but sends SIGIO (blocked, see main). */
static void wait_for_peer(int port)
{
    struct pollfd look = { .fd = port, .events = POLLIN };
    sigset_t signals;
    int signal;

    sigemptyset(&signals);
    sigaddset(&signals, SIGIO);
    while (poll(&look, 1, 0) > 0 && (look.revents & POLLHUP) && !(look.revents & POLLIN))
        sigwait(&signals, &signal);
}

static int open_port(void)
{
    sigset_t signals;
    int port;

    sigemptyset(&signals);
    sigaddset(&signals, SIGIO);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    port = early_open_port(PORT, 60000);
    if (fcntl(port, F_SETOWN, getpid()) < 0 || fcntl(port, F_SETFL, O_ASYNC) < 0)
        early_die("port: %s", strerror(errno));
    return port;
}

int main(void)
{
    static char line[16 * GUEST_PAGES];
    FILE *commands;
    int port;

    early_mount_basics("");
    if (early_write_file(POLL_INTERVAL, "0") < 0)
        early_die("cannot switch off the polling of machine check banks");
    /*
     * Each machine check is four lines of the highest level, and a character on a nested guest's serial
     * port takes longer than reading a page. The log stays complete for klog.
     */
    if (early_write_file(CONSOLE_LEVEL, "0") < 0)
        early_die("cannot quiet the console");
    handle_sigbus();
    allocate();
    port = open_port();
    commands = fdopen(port, "r");
    answers = fdopen(dup(port), "w");
    if (!commands || !answers)
        early_die("fdopen: %s", strerror(errno));
    /* Each write is an exit to the hypervisor, below which there is another. */
    setvbuf(answers, NULL, _IOFBF, 1 << 16);
    printf("pattern ready\n");
    fflush(stdout);
    for (;;) {
        if (fgets(line, sizeof(line), commands)) {
            line[strcspn(line, "\n")] = '\0';
            handle(line);
        } else {
            /* Nobody is at the other end just now, such as after a migration. */
            wait_for_peer(port);
            clearerr(commands);
        }
    }
}
