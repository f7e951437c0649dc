/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a program needs when it is the first process of a machine.
 *
 * Both programs of this directory (the agent of a virtual host, the pattern guest) are started by the
 * kernel as process 1 with nothing mounted. Nobody is there to report an error to but the console, so
 * everything here either works or says why and ends the machine: the harness sees the machine stop.
 */
#ifndef HWP_EARLY_H
#define HWP_EARLY_H

#include <stdbool.h>
#include <stddef.h>

/* Prints on the console, then powers the machine off. */
void early_die(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));

/* Mounts, and makes the mount point if there is none. */
void early_mount(const char *source, const char *target, const char *type, unsigned long flags,
                 const char *options);

/* Mounts /proc, /sys and /dev below `root` ("" for the root directory itself). */
void early_mount_basics(const char *root);

/* Copies the value of NAME=VALUE of the kernel command line; false when it is not there. */
bool early_option(const char *name, char *value, size_t size);

/*
 * Opens the virtio-serial port that QEMU calls `name` for reading and writing. A port appears when the device has
 * told the driver about it, some time after the start of process 1: waits for the kernel's uevents.
 */
int early_open_port(const char *name, int timeout_ms);

/* Writes `text` to a file that exists; returns 0 or a negative errno. */
int early_write_file(const char *path, const char *text);

/* Gives a network interface an IPv4 address, with a netmask of 8 bits, and brings it up. */
void early_raise_interface(const char *name, const char *address);

#endif
