/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a touch of poison is; and how it is done, see touch.h. */
#include "touch.h"

#include <errno.h>
#include <setjmp.h>
#include <stdint.h>
#include <sys/mman.h>

#include "memory.h"
#include "platform.h"

SUBJECT("A touch of emulated poison");

static __thread sigjmp_buf after_sigbus;
static __thread siginfo_t last_sigbus;

static void on_sigbus(int signo, siginfo_t *info, void *context)
{
    (void)signo;
    (void)context;
    last_sigbus = *info;
    siglongjmp(after_sigbus, 1);
}

bool touch(volatile char *byte, bool write, siginfo_t *info)
{
    /* SA_NODEFER: the handler is left by a jump that does not restore the mask. */
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_NODEFER };

    if (sigaction(SIGBUS, &action, NULL) < 0)
        broken("sigaction");
    if (sigsetjmp(after_sigbus, 0)) {
        if (info)
            *info = last_sigbus;
        return true;
    }
    if (write)
        *byte = 1;
    else
        (void)*byte;
    return false;
}

const char *siginfo_word(const siginfo_t *info)
{
    switch (info->si_code) {
    case BUS_MCEERR_AR:
        return seen("BUS_MCEERR_AR, lsb %d", info->si_addr_lsb);
    case BUS_MCEERR_AO:
        return seen("BUS_MCEERR_AO, lsb %d", info->si_addr_lsb);
    case BUS_ADRERR:
        return "SIGBUS, BUS_ADRERR";
    default:
        return "SIGBUS, another code";
    }
}

void need_memory_failure(void)
{
    /* Of no memory at all: it only says whether it knows how. */
    if (madvise(NULL, 0, MADV_HWPOISON) < 0 && errno == EINVAL)
        skip("this kernel has no CONFIG_MEMORY_FAILURE");
}

static const char *touched(enum kind kind, bool write)
{
    struct area area = poisoned_area(kind);
    char *byte = page_of(&area, 1) + 64;
    siginfo_t info;

    need_memory_failure();
    if (!touch(byte, write, &info))
        return "no signal";
    if ((char *)info.si_addr < page_of(&area, 1) || (char *)info.si_addr >= page_of(&area, 2))
        return "SIGBUS with another address";
    return siginfo_word(&info);
}

BEHAVIOUR(touch_read, ALWAYS("BUS_MCEERR_AR, lsb 12"),
          "QEMU takes SIGBUS for a memory error by its code, and its page by address and size",
          "accel/kvm/kvm-all.c (QEMU)")
{
    return touched(PRIVATE, false);
}

BEHAVIOUR(touch_write, ALWAYS("BUS_MCEERR_AR, lsb 12"), "the same for a store", "accel/kvm/kvm-all.c (QEMU)")
{
    return touched(SHARED, true);
}

BEHAVIOUR(touch_huge, ALWAYS("BUS_MCEERR_AR, lsb 21"), "the whole huge page is told to be lost",
          "accel/kvm/kvm-all.c (QEMU)")
{
    if (huge_page_size() != 1 << 21)
        skip("the huge pages here are not of 2 MiB");
    return touched(HUGE_SHARED, false);
}

BEHAVIOUR(touch_neighbour, ALWAYS("usable"), "only what was lost on the source is lost here",
          "system/ram-poison-emulate.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);

    if (touch(page_of(&area, 1) - 1, true, NULL) || touch(page_of(&area, 2), true, NULL))
        return "lost, too";
    return "usable";
}
