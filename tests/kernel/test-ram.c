/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A VMM for tests: its guest's RAM
 *
 * Does what QEMU does around a poison request, by the recipe that leaves no gap for a concurrent touch:
 * register exactly the pages with the userfaultfd, discard them, have them poisoned, unregister. Whether
 * a page is poisoned is asked of the kernel in two ways: MADV_POPULATE_READ answers EHWPOISON without a
 * signal, and a touch raises SIGBUS. Kernels with CONFIG_MEMORY_FAILURE send BUS_MCEERR_AR, others
 * BUS_ADRERR; tests say which they saw.
 */
#include "test-ram.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "util/uffd.h"

#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif
#define HUGE_PAGE (2u * 1024 * 1024)

static sigjmp_buf touch_return;
static volatile sig_atomic_t touch_code;

static int open_uffd(guint64 features)
{
    struct uffdio_api api = { .api = UFFD_API, .features = features };
    int fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);

    g_assert_no_errno(fd);
    g_assert_no_errno(ioctl(fd, UFFDIO_API, &api));
    return fd;
}

gboolean ram_kernel_can_poison(void)
{
    return uffd_kernel_can_poison();
}

static void map(Ram *ram)
{
    int flags = ram->kind == RAM_ANONYMOUS ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;

    if (ram->kind != RAM_ANONYMOUS) {
        ram->memfd = memfd_create("ram", MFD_CLOEXEC | (ram->kind == RAM_HUGETLB ? MFD_HUGETLB : 0));
        g_assert_no_errno(ram->memfd);
        g_assert_no_errno(ftruncate(ram->memfd, (off_t)ram->size));
    }
    ram->address = mmap(NULL, ram->size, PROT_READ | PROT_WRITE, flags, ram->memfd, 0);
    g_assert_true(ram->address != MAP_FAILED);
    if (ram->kind != RAM_HUGETLB)
        madvise(ram->address, ram->size, MADV_NOHUGEPAGE); /* EINVAL: the kernel has none */
}

Ram *ram_new(RamKind kind, gsize pages)
{
    Ram *ram = g_new0(Ram, 1);

    ram->kind = kind;
    ram->page = kind == RAM_HUGETLB ? HUGE_PAGE : (gsize)sysconf(_SC_PAGESIZE);
    ram->size = pages * ram->page;
    ram->memfd = -1;
    map(ram);
    ram->uffd = open_uffd(UFFD_FEATURE_EVENT_REMOVE);
    return ram;
}

void ram_free(Ram *ram)
{
    close(ram->uffd);
    munmap(ram->address, ram->size);
    if (ram->memfd >= 0)
        close(ram->memfd);
    g_free(ram);
}

/* Writes the page's number into its first byte (modulo 251), never 0. */
void ram_fill(Ram *ram)
{
    for (gsize i = 0; i < ram->size / ram->page; i++)
        ram->address[i * ram->page] = (char)(1 + i % 250);
}

gboolean ram_is_intact(Ram *ram, gsize page)
{
    return ram->address[page * ram->page] == (char)(1 + page % 250);
}

/* Without EVENT_REMOVE in the way of this thread: discard first, register then. */
void ram_prepare(Ram *ram, gsize first, gsize pages)
{
    char *start = ram->address + first * ram->page;
    struct uffdio_register reg = { .range = { (guintptr)start, pages * ram->page },
                                   .mode = UFFDIO_REGISTER_MODE_MISSING };

    if (ram->memfd >= 0)
        g_assert_no_errno(fallocate(ram->memfd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                    (off_t)(first * ram->page), (off_t)(pages * ram->page)));
    g_assert_no_errno(madvise(start, pages * ram->page, MADV_DONTNEED));
    g_assert_no_errno(ioctl(ram->uffd, UFFDIO_REGISTER, &reg));
}

void ram_release(Ram *ram, gsize first, gsize pages)
{
    struct uffdio_range range = { (guintptr)ram->address + first * ram->page, pages * ram->page };

    g_assert_no_errno(ioctl(ram->uffd, UFFDIO_UNREGISTER, &range));
}

gboolean ram_is_poisoned(Ram *ram, gsize page)
{
    int r = madvise(ram->address + page * ram->page, ram->page, MADV_POPULATE_READ);

    g_assert_true(r == 0 || errno == EHWPOISON);
    return r != 0;
}

static void on_sigbus(int signal, siginfo_t *info, void *context)
{
    touch_code = info->si_code;
    siglongjmp(touch_return, 1);
}

/* Reads a byte of the page; returns the si_code of the SIGBUS, or 0 if there was none. */
int ram_touch(Ram *ram, gsize page)
{
    struct sigaction action = { .sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO }, old;

    touch_code = 0;
    g_assert_no_errno(sigaction(SIGBUS, &action, &old));
    if (sigsetjmp(touch_return, 1) == 0)
        (void)*(volatile char *)(ram->address + page * ram->page);
    g_assert_no_errno(sigaction(SIGBUS, &old, NULL));
    return touch_code;
}

void ram_send_layout(Vmm *vmm, const Ram *ram, const char *block)
{
    static const char *const kinds[] = { "anonymous", "shmem", "hugetlb" };

    vmm_call_ok(vmm, -1, "layout",
                "\"blocks\":[{\"name\":\"%s\",\"host_virt_addr\":%" G_GUINTPTR_FORMAT ",\"size\":%" G_GSIZE_FORMAT
                ",\"page_size\":%" G_GSIZE_FORMAT ",\"kind\":\"%s\",\"shared\":%s}]",
                block, (guintptr)ram->address, ram->size, ram->page, kinds[ram->kind],
                ram->memfd >= 0 ? "true" : "false");
}

void ram_begin(Vmm *vmm, const Ram *ram, guint64 pages)
{
    vmm_call_ok(vmm, ram->uffd, "poison-begin", "\"pages\":%" G_GUINT64_FORMAT, pages);
}

/* A whole session of an honest VMM, from layout to poison-end, for the second page of @ram. */
void ram_poison_second_page(Vmm *vmm, Ram *ram)
{
    g_autoptr(JsonObject) answer = NULL;

    ram_send_layout(vmm, ram, "ram");
    ram_prepare(ram, 1, 1);
    ram_begin(vmm, ram, 1);
    answer = vmm_poison(vmm, "ram", &(VmmRecord){ ram->page, ram->page }, 1);
    g_assert_cmpint(json_object_get_int_member(answer, "failed_count"), ==, 0);
    vmm_call_ok(vmm, -1, "poison-end", "%s", "");
    g_assert_true(ram_is_poisoned(ram, 1));
}
