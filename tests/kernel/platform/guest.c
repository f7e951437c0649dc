/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The smallest guest there can be; see guest.h. */
#if defined(__x86_64__)

#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "platform.h"
#include "touch.h"

/*
 * In long mode, with the page tables that it takes: KVM emulates real mode, and on some machines all that is
 * without paging, and its emulator meets poison in another way.
 */
#define PRESENT_WRITABLE 3u
#define LARGE            (1u << 7)
#define CR0_PE_PG        0x80000001u
#define CR4_PAE          0x20u
#define EFER_LME_LMA     0x500u

/* The first GiB is mapped to itself. */
static void make_page_tables(const struct guest *guest)
{
    uint64_t *top = (uint64_t *)(void *)page_of(&guest->memory, GUEST_TABLES);
    uint64_t *middle = (uint64_t *)(void *)page_of(&guest->memory, GUEST_TABLES + 1);
    uint64_t *low = (uint64_t *)(void *)page_of(&guest->memory, GUEST_TABLES + 2);

    top[0] = (GUEST_TABLES + 1) * guest->memory.page | PRESENT_WRITABLE;
    middle[0] = (GUEST_TABLES + 2) * guest->memory.page | PRESENT_WRITABLE;
    for (uint64_t n = 0; n < 512; n++)
        low[n] = n << 21 | PRESENT_WRITABLE | LARGE;
}

static void enter_long_mode(const struct guest *guest)
{
    const struct kvm_segment code = {
        .limit = ~0u, .selector = 8, .type = 0xb, .present = 1, .s = 1, .l = 1, .g = 1
    };
    const struct kvm_segment data = {
        .limit = ~0u, .selector = 16, .type = 3, .present = 1, .s = 1, .db = 1, .g = 1
    };
    struct kvm_sregs sregs;

    if (ioctl(guest->vcpu, KVM_GET_SREGS, &sregs) < 0)
        broken("KVM_GET_SREGS");
    sregs.cs = code;
    sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
    sregs.cr0 |= CR0_PE_PG;
    sregs.cr3 = GUEST_TABLES * guest->memory.page;
    sregs.cr4 |= CR4_PAE;
    sregs.efer |= EFER_LME_LMA;
    if (ioctl(guest->vcpu, KVM_SET_SREGS, &sregs) < 0)
        broken("KVM_SET_SREGS");
}

/* Everything that KVM can do here; without, there is no long mode. */
static void set_cpuid(int kvm, int vcpu)
{
    enum { ENTRIES = 256 };
    struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + ENTRIES * sizeof(cpuid->entries[0]));

    if (!cpuid)
        broken("calloc");
    cpuid->nent = ENTRIES;
    if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 || ioctl(vcpu, KVM_SET_CPUID2, cpuid) < 0)
        broken("KVM_SET_CPUID2");
}

static int open_kvm(void)
{
    int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    need_memory_failure();
    if (kvm < 0)
        skip("/dev/kvm: %s", errno_word(errno));
    return kvm;
}

struct guest new_guest(enum kind kind)
{
    struct guest guest = { .memory = map_area(kind, GUEST_PAGES) };
    struct kvm_userspace_memory_region slot = {
        .memory_size = guest.memory.size,
        .userspace_addr = (uintptr_t)guest.memory.start,
    };
    int kvm = open_kvm(), vm = ioctl(kvm, KVM_CREATE_VM, 0);

    if (vm < 0)
        skip("KVM_CREATE_VM: %s", errno_word(errno));
    guest.vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0 || guest.vcpu < 0)
        broken("KVM");
    guest.run = mmap(NULL, (size_t)ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0), PROT_READ | PROT_WRITE, MAP_SHARED,
                     guest.vcpu, 0);
    if (guest.run == MAP_FAILED)
        broken("mmap");
    set_cpuid(kvm, guest.vcpu);
    make_page_tables(&guest);
    enter_long_mode(&guest);
    return guest;
}

int run_guest(struct guest *guest, size_t page, bool write)
{
    static const char load[] = { '\x8a', '\x03', '\xf4' }, store[] = { '\x88', '\x03', '\xf4' };
    struct kvm_regs regs = { .rflags = 2, .rbx = page * guest->memory.page + 64 };

    memcpy(page_of(&guest->memory, GUEST_CODE), write ? store : load, sizeof(load));
    if (ioctl(guest->vcpu, KVM_SET_REGS, &regs) < 0)
        broken("KVM_SET_REGS");
    return ioctl(guest->vcpu, KVM_RUN, 0) < 0 ? errno : 0;
}

#endif
