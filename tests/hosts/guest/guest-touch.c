/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Touches of a page of the pattern by the kernel and by devices. Commands of the pattern program:
 *
 *   copy-in N          the kernel copies the page from this program (write to a pipe), and can fail
 *   copy-mapped N      the kernel reads the page through its own mapping (vmsplice, read): it cannot fail
 *   disk-write N       the first disk reads the page (O_DIRECT: no copy on the way)
 *   disk-read N        it writes to the page
 *   net-send N         the first network card reads the page, for one datagram (MSG_ZEROCOPY)
 *   free N COUNT       gives these pages back to the kernel
 *   fill N COUNT       has new ones in their place, with the pattern
 *
 * Each answers {"result":R,"error":E}: what the last system call returned, and errno.
 */
#include "guest-touch.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "early.h"
#include "guest-pattern.h"

#define DISK "/dev/vda"
#define CARD "eth0"
#define PEER_MAC "\x52\x54\x00\x00\x99\x02"
#define DATAGRAM 1024

static long copy_in(void *page, uint32_t unused)
{
    int ends[2];
    long result;

    (void)unused;
    if (pipe(ends) < 0)
        early_die("pipe: %s", strerror(errno));
    result = write(ends[1], page, GUEST_PAGE_SIZE);
    close(ends[0]);
    close(ends[1]);
    return result;
}

static long copy_mapped(void *page, uint32_t unused)
{
    static char copy[GUEST_PAGE_SIZE];
    struct iovec where = { page, GUEST_PAGE_SIZE };
    int ends[2];
    long result;

    (void)unused;
    if (pipe(ends) < 0)
        early_die("pipe: %s", strerror(errno));
    result = vmsplice(ends[1], &where, 1, 0);
    if (result > 0)
        result = read(ends[0], copy, sizeof(copy));
    close(ends[0]);
    close(ends[1]);
    return result;
}

static long disk(void *page, bool write_it)
{
    int fd = open(DISK, O_RDWR | O_DIRECT | O_CLOEXEC);
    long result;

    if (fd < 0)
        return -1;
    result = write_it ? pwrite(fd, page, GUEST_PAGE_SIZE, 0) : pread(fd, page, GUEST_PAGE_SIZE, 0);
    close(fd);
    return result;
}

static long disk_write(void *page, uint32_t unused)
{
    (void)unused;
    return disk(page, true);
}

static long disk_read(void *page, uint32_t unused)
{
    (void)unused;
    return disk(page, false);
}

/* Brings the card up. Nobody is at the other end to be asked for an address. */
static void raise_card(int fd, const struct sockaddr_in *peer)
{
    struct arpreq neighbour = { .arp_flags = ATF_PERM | ATF_COM, .arp_dev = CARD };

    early_raise_interface(CARD, "10.99.0.1");
    memcpy(&neighbour.arp_pa, peer, sizeof(*peer));
    neighbour.arp_ha.sa_family = ARPHRD_ETHER;
    memcpy(neighbour.arp_ha.sa_data, PEER_MAC, sizeof(PEER_MAC) - 1);
    if (ioctl(fd, SIOCSARP, &neighbour) < 0)
        early_die("neighbour on %s: %s", CARD, strerror(errno));
}

static long net_send(void *page, uint32_t unused)
{
    struct sockaddr_in to = { .sin_family = AF_INET, .sin_port = htons(9) };
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;
    long result;

    (void)unused;
    inet_pton(AF_INET, "10.99.0.2", &to.sin_addr);
    raise_card(fd, &to);
    if (setsockopt(fd, SOL_SOCKET, SO_ZEROCOPY, &one, sizeof(one)) < 0)
        early_die("setsockopt: %s", strerror(errno));
    result = sendto(fd, page, DATAGRAM, MSG_ZEROCOPY, (struct sockaddr *)&to, sizeof(to));
    close(fd);
    return result;
}

static long give_back(void *page, uint32_t count)
{
    return madvise(page, (size_t)count * GUEST_PAGE_SIZE, MADV_DONTNEED);
}

static long fill(void *page, uint32_t count)
{
    uint32_t first = (uint32_t)(((unsigned char *)page - guest.memory) / GUEST_PAGE_SIZE);

    for (uint32_t i = 0; i < count; i++)
        fill_page(first + i);
    return 0;
}

static const struct {
    const char *name;
    long (*run)(void *page, uint32_t count);
} touches[] = {
    { "copy-in", copy_in },     { "copy-mapped", copy_mapped }, { "disk-write", disk_write },
    { "disk-read", disk_read }, { "net-send", net_send },       { "free", give_back },
    { "fill", fill },
};

bool touch_command(const char *line)
{
    uint32_t page, count = 1;
    char name[16];
    long result;

    if (sscanf(line, "%15s %u %u", name, &page, &count) < 2 || page >= GUEST_PAGES ||
        count > GUEST_PAGES - page)
        return false;
    for (size_t i = 0; i < sizeof(touches) / sizeof(touches[0]); i++) {
        if (strcmp(name, touches[i].name) != 0)
            continue;
        errno = 0;
        result = touches[i].run(guest_page(page), count);
        answer("{\"result\":%ld,\"error\":%d}", result, result < 0 ? errno : 0);
        return true;
    }
    return false;
}
