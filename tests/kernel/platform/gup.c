/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel as the one who touches: system calls with a poisoned buffer. */
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/loop.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "memory.h"
#include "platform.h"

SUBJECT("System calls with a poisoned buffer");

#define TMPFS_MAGIC 0x01021994
#define RAMFS_MAGIC 0x858458f6

/* What a call returned, without a signal: that would have ended the look. */
static const char *result_word(long result)
{
    return result < 0 ? errno_word(errno) : "ok";
}

BEHAVIOUR(buffer_write, ALWAYS("EFAULT"),
          "a device whose guest gives it poison gets an error, and QEMU lives on", "migration/ram.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);
    int ends[2];

    if (pipe(ends) < 0)
        broken("pipe");
    return result_word(write(ends[1], page_of(&area, 1), area.page));
}

BEHAVIOUR(buffer_vmsplice, INFORMATIVE,
          "the same where the kernel takes pages: zero-copy-send leaves poison out",
          "migration/ram-poison.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);
    struct iovec buffer = { .iov_base = page_of(&area, 1), .iov_len = area.page };
    int ends[2];

    if (pipe(ends) < 0)
        broken("pipe");
    return result_word(vmsplice(ends[1], &buffer, 1, 0));
}

BEHAVIOUR(buffer_process_vm_readv, INFORMATIVE, "tests look at the poison of a VMM from outside",
          "tests/qtest/ram-poison-test.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);
    char copy[64];
    struct iovec local = { .iov_base = copy, .iov_len = sizeof(copy) };
    struct iovec remote = { .iov_base = page_of(&area, 1), .iov_len = sizeof(copy) };

    return result_word(process_vm_readv(getpid(), &local, 1, &remote, 1, 0));
}

BEHAVIOUR(buffer_io_uring, INFORMATIVE, "nor can memory with poison be made a fixed buffer",
          "migration/ram-poison.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);
    struct iovec buffer = { .iov_base = area.start, .iov_len = area.size };
    struct io_uring_params params = { 0 };
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

    if (ring < 0)
        skip("io_uring: %s", errno_word(errno));
    return result_word(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &buffer, 1));
}

/* A block device of memory: in a machine that has no disk. */
static int open_direct_device(void)
{
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    int number = control < 0 ? -1 : ioctl(control, LOOP_CTL_GET_FREE);
    int memory = memfd_create("disk", MFD_CLOEXEC);
    char path[32];
    int fd;

    if (number < 0)
        skip("/dev/loop-control: %s", errno_word(errno));
    snprintf(path, sizeof(path), "/dev/loop%d", number);
    fd = open(path, O_RDWR | O_DIRECT | O_CLOEXEC);
    if (memory < 0 || ftruncate(memory, 1 << 20) < 0 || fd < 0 || ioctl(fd, LOOP_SET_FD, memory) < 0)
        broken(path);
    return fd;
}

/* A file without a name; tmpfs would only pretend. */
static int open_direct_file(void)
{
    const char *directory = getenv("TMPDIR");
    struct statfs info;
    int fd = open(directory ? directory : "/var/tmp", O_TMPFILE | O_RDWR | O_DIRECT | O_CLOEXEC, 0600);

    if (fd < 0)
        skip("no file for direct I/O: %s", errno_word(errno));
    if (fstatfs(fd, &info) < 0 || info.f_type == TMPFS_MAGIC || info.f_type == RAMFS_MAGIC)
        skip("no file system here that has direct I/O");
    return fd;
}

BEHAVIOUR(buffer_o_direct, INFORMATIVE, "nor go to a file directly: direct-io leaves poison out",
          "migration/ram-poison.c (QEMU)")
{
    struct area area = poisoned_area(SHARED);
    int fd = platform_options.real ? open_direct_device() : open_direct_file();

    return result_word(pwrite(fd, page_of(&area, 1), area.page, 0));
}
