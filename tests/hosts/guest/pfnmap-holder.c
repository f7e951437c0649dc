/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pfnmap-holder: have a huge pfnmap in the page table of a processor, for whoever reads that from outside
 *
 *   pfnmap-holder bind
 *   pfnmap-holder CARD SHIFT parent|child [touch]
 *
 * The first hands the card to vfio-pci and prints its address on the bus, which is CARD. The second maps it
 * (huge_pfnmap_map), forks, and either process goes to processor 0, alone there. It writes to the memory
 * again, with "touch", and prints its address; from then on it is in a loop in user mode that touches
 * nothing. The other waits on another processor. SIGTERM ends both, the child first: then the card is free.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "huge-pfnmap.h"

static pid_t child;

static void end(int signal)
{
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    _exit(0);
}

static void __attribute__((noreturn)) fail(const char *what)
{
    fprintf(stderr, "pfnmap-holder: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void go_to_processor(int processor)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(processor, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0)
        fail("sched_setaffinity");
}

static void __attribute__((noreturn)) hold(char *memory, bool touch)
{
    const size_t smallest_leaf = 2UL << 20;

    go_to_processor(0);
    for (size_t i = 0; touch && i < HUGE_PFNMAP_SIZE; i += smallest_leaf)
        __atomic_store_n(memory + i, 2, __ATOMIC_RELAXED);
    printf("%p\n", (void *)memory);
    fflush(stdout);
    for (;;)
        __asm__ volatile("pause");
}

static int bind_card(void)
{
    const char *card = huge_pfnmap_bind();

    if (!card)
        fail("no card, or no vfio-pci for it");
    puts(card);
    return 0;
}

int main(int argc, char **argv)
{
    bool parent, touch;
    char *memory;

    if (argc == 2 && strcmp(argv[1], "bind") == 0)
        return bind_card();
    if (argc < 4)
        return 2;
    parent = strcmp(argv[3], "parent") == 0;
    touch = argc > 4;
    go_to_processor(1);
    memory = huge_pfnmap_map(argv[1], strtoul(argv[2], NULL, 0));
    if (!memory)
        fail(argv[1]);
    child = fork();
    if (child < 0)
        fail("fork");
    if (child == 0)
        prctl(PR_SET_PDEATHSIG, SIGKILL);
    else
        signal(SIGTERM, end);
    if ((child == 0) != parent)
        hold(memory, touch);
    pause();
    return 0;
}
