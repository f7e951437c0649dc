/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads of the guest that run while its memory is poisoned. */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "memory.h"
#include "platform.h"
#include "touch.h"

SUBJECT("Threads that run meanwhile");

struct toucher {
    char *byte;
    bool sigbus;
    siginfo_t info;
};

static void *touch_once(void *argument)
{
    struct toucher *toucher = argument;

    toucher->sigbus = touch(toucher->byte, false, &toucher->info);
    return NULL;
}

/* A thread touches the hole between discard and poison. */
BEHAVIOUR(running_toucher_waits, ALWAYS("waits, then SIGBUS"),
          "nobody can fill a page between discard and poison, or read zeros from it",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = map_area(SHARED, 4);
    struct toucher toucher = { .byte = page_of(&area, 1) };
    struct pollfd fault = { .events = POLLIN };
    pthread_t thread;

    memset(area.start, 7, area.size);
    arm(&area);
    discard_page(&area, 1);
    pthread_create(&thread, NULL, touch_once, &toucher);
    fault.fd = area.uffd;
    if (poll(&fault, 1, 10000) != 1)
        return "does not wait";
    poison_page(&area, 1);
    pthread_join(thread, NULL);
    return toucher.sigbus ? "waits, then SIGBUS" : "waits, then reads";
}

/* The same, but the kernel touches it: as KVM does for a guest. */
BEHAVIOUR(running_kernel_does_not_wait, INFORMATIVE,
          "in the kernel nobody waits for a userfaultfd of user mode: QEMU stops the vCPUs",
          "system/ram-poison-qmp-cmds.c (QEMU)")
{
    struct area area = map_area(SHARED, 4);
    int ends[2];

    arm(&area);
    if (pipe(ends) < 0)
        broken("pipe");
    return write(ends[1], page_of(&area, 1), 1) < 0 ? errno_word(errno) : "reads";
}

static atomic_bool stop;

static void *keep_writing(void *argument)
{
    volatile char *page = argument;

    while (!stop)
        ++*page;
    return NULL;
}

BEHAVIOUR(running_elsewhere, ALWAYS("poisoned"),
          "poison can be put beside memory that threads are writing to", "daemon/poison-job.c")
{
    enum { PAGES = 1024 };
    struct area area = map_area(SHARED, 2 * PAGES);
    size_t poisoned = 0;
    pthread_t thread;

    memset(area.start, 7, area.size);
    pthread_create(&thread, NULL, keep_writing, page_of(&area, 1));
    arm(&area);
    for (size_t n = 0; n < 2 * PAGES; n += 2) {
        discard_page(&area, n);
        poison_page(&area, n);
    }
    disarm(&area);
    stop = true;
    pthread_join(thread, NULL);
    for (size_t n = 0; n < 2 * PAGES; n += 2)
        poisoned += strcmp(kept_or_dropped(page_of(&area, n)), "kept") == 0;
    return poisoned == PAGES ? "poisoned" : seen("%zu of %d pages poisoned", poisoned, PAGES);
}
