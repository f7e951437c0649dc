/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef HWP_HOST_BOOT_H
#define HWP_HOST_BOOT_H

/*
 * Turns a machine that has nothing but an initramfs into a virtual host: the outer machine's `/`
 * read-only below a tmpfs overlay, kernel file systems, a writable directory shared with the harness
 * on /shared, and the network. Ends with the new root as root and working directory.
 */
void host_boot(void);

#endif
