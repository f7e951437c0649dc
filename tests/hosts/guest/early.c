/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Process 1's first steps; see early.h. */
#include "early.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <net/if.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PORTS "/sys/class/virtio-ports"

void early_die(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vdprintf(STDERR_FILENO, format, args);
    va_end(args);
    dprintf(STDERR_FILENO, "\n");
    sync();
    reboot(RB_POWER_OFF);
    _exit(1);
}

void early_mount(const char *source, const char *target, const char *type, unsigned long flags,
                 const char *options)
{
    if (mkdir(target, 0755) < 0 && errno != EEXIST && errno != EROFS)
        early_die("mkdir %s: %s", target, strerror(errno));
    if (mount(source, target, type, flags, options) < 0 && errno != EBUSY)
        early_die("mount %s on %s: %s", type, target, strerror(errno));
}

void early_mount_basics(const char *root)
{
    static const char *const basics[][2] = {
        { "proc", "/proc" },
        { "sysfs", "/sys" },
        { "devtmpfs", "/dev" },
    };
    char target[256];

    for (size_t i = 0; i < sizeof(basics) / sizeof(basics[0]); i++) {
        snprintf(target, sizeof(target), "%s%s", root, basics[i][1]);
        early_mount(basics[i][0], target, basics[i][0], 0, NULL);
    }
}

bool early_option(const char *name, char *value, size_t size)
{
    char line[4096];
    FILE *file = fopen("/proc/cmdline", "re");
    bool found = false;

    if (!file || !fgets(line, sizeof(line), file))
        early_die("/proc/cmdline: %s", strerror(errno));
    fclose(file);
    for (char *word = strtok(line, " \n"); word; word = strtok(NULL, " \n")) {
        size_t length = strlen(name);

        if (strncmp(word, name, length) == 0 && word[length] == '=') {
            snprintf(value, size, "%s", word + length + 1);
            found = true;
        }
    }
    return found;
}

static int open_uevents(void)
{
    struct sockaddr_nl address = { .nl_family = AF_NETLINK, .nl_groups = 1 };
    int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        early_die("uevent socket: %s", strerror(errno));
    return fd;
}

static long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000L + now.tv_nsec / 1000000L;
}

/* Whether the port's sysfs directory says that QEMU calls it `name`. */
static bool port_has_name(const char *port, const char *name)
{
    char path[300], found[64] = "";
    FILE *file;

    snprintf(path, sizeof(path), PORTS "/%s/name", port);
    file = fopen(path, "re");
    if (!file)
        return false;
    if (fgets(found, sizeof(found), file))
        found[strcspn(found, "\n")] = '\0';
    fclose(file);
    return strcmp(found, name) == 0;
}

/* The device of the port, or -1 while there is none. */
static int try_open_port(const char *name)
{
    DIR *directory = opendir(PORTS);
    struct dirent *entry;
    char path[300];
    int fd = -1;

    while (fd < 0 && directory && (entry = readdir(directory))) {
        if (!port_has_name(entry->d_name, name))
            continue;
        snprintf(path, sizeof(path), "/dev/%s", entry->d_name);
        fd = open(path, O_RDWR | O_CLOEXEC);
    }
    if (directory)
        closedir(directory);
    return fd;
}

int early_open_port(const char *name, int timeout_ms)
{
    /* Listen before the first look, so that no event between the two is lost. */
    int events = open_uevents();
    long end = now_ms() + timeout_ms;
    char event[8192];
    int fd;

    while ((fd = try_open_port(name)) < 0) {
        struct pollfd wait = { .fd = events, .events = POLLIN };
        long left = end - now_ms();

        if (left <= 0 || poll(&wait, 1, (int)left) == 0)
            early_die("port %s did not appear in %d ms", name, timeout_ms);
        if (recv(events, event, sizeof(event), 0) < 0 && errno != ENOBUFS)
            early_die("uevent: %s", strerror(errno));
    }
    close(events);
    return fd;
}

int early_write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    ssize_t written;

    if (fd < 0)
        return -errno;
    written = write(fd, text, strlen(text));
    close(fd);
    return written < 0 ? -errno : 0;
}

void early_raise_interface(const char *name, const char *address)
{
    struct ifreq request = { 0 };
    struct sockaddr_in *inet = (struct sockaddr_in *)&request.ifr_addr;
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    strncpy(request.ifr_name, name, sizeof(request.ifr_name) - 1);
    inet->sin_family = AF_INET;
    if (inet_pton(AF_INET, address, &inet->sin_addr) != 1)
        early_die("%s is not an address", address);
    if (fd < 0 || ioctl(fd, SIOCSIFADDR, &request) < 0)
        early_die("address of %s: %s", name, strerror(errno));
    inet_pton(AF_INET, "255.0.0.0", &inet->sin_addr);
    if (ioctl(fd, SIOCSIFNETMASK, &request) < 0)
        early_die("netmask of %s: %s", name, strerror(errno));
    request.ifr_flags = IFF_UP | IFF_RUNNING;
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        early_die("up %s: %s", name, strerror(errno));
    close(fd);
}
