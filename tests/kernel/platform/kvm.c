/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest that touches poison. */
#include <signal.h>

#include "platform.h"

SUBJECT("KVM: a guest that touches poison");

#if defined(__x86_64__)

#include "guest.h"
#include "touch.h"

static siginfo_t signalled;

static void note_signal(int signo, siginfo_t *info, void *context)
{
    (void)context;
    if (signo == SIGBUS)
        signalled = *info;
}

/* The guest uses a page, which then is poisoned, and used again. */
static const char *guest_touches(enum kind kind, bool write)
{
    struct sigaction action = { .sa_sigaction = note_signal, .sa_flags = SA_SIGINFO };
    struct guest guest = new_guest(kind);
    char *page = page_of(&guest.memory, GUEST_DATA);
    int r;

    if (run_guest(&guest, GUEST_DATA, write) != 0 || guest.run->exit_reason != KVM_EXIT_HLT)
        return seen("cannot run: exit reason %u", guest.run->exit_reason);
    arm(&guest.memory);
    discard_page(&guest.memory, GUEST_DATA);
    poison_page(&guest.memory, GUEST_DATA);
    disarm(&guest.memory);
    sigaction(SIGBUS, &action, NULL);
    r = run_guest(&guest, GUEST_DATA, write);
    if (signalled.si_signo != SIGBUS)
        return seen("no signal, %s, exit reason %u", errno_word(r), guest.run->exit_reason);
    if ((char *)signalled.si_addr < page || (char *)signalled.si_addr >= page + guest.memory.page)
        return "SIGBUS with another address";
    return siginfo_word(&signalled);
}

BEHAVIOUR(kvm_load, ALWAYS("BUS_MCEERR_AR, lsb 12"), "QEMU makes a machine check of it, for the guest",
          "accel/kvm/kvm-all.c (QEMU)")
{
    return guest_touches(PRIVATE, false);
}

BEHAVIOUR(kvm_store, ALWAYS("BUS_MCEERR_AR, lsb 12"), "the same for a store, on shared memory",
          "accel/kvm/kvm-all.c (QEMU)")
{
    return guest_touches(SHARED, true);
}

BEHAVIOUR(kvm_load_huge, ALWAYS("BUS_MCEERR_AR, lsb 12"), "the same on hugetlbfs: KVM tells small pages",
          "accel/kvm/kvm-all.c (QEMU)")
{
    need_huge_pages(GUEST_PAGES);
    return guest_touches(HUGE_SHARED, false);
}

BEHAVIOUR(kvm_neighbour, ALWAYS("usable"), "a guest that runs on keeps its other pages",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct guest guest = new_guest(PRIVATE);

    arm(&guest.memory);
    poison_page(&guest.memory, GUEST_DATA);
    disarm(&guest.memory);
    if (run_guest(&guest, GUEST_OTHER_DATA, true) != 0 || guest.run->exit_reason != KVM_EXIT_HLT)
        return "lost, too";
    return "usable";
}

#endif
