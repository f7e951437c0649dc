/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of a device in leaves of 1 GiB and 2 MiB, without struct pages.
 *
 * The device is QEMU's shared memory card (ivshmem-plain) with a BAR of 1 GiB, on a machine that has an
 * IOMMU; see hwhosts/pfnmap.py.
 */
#ifndef HWP_HUGE_PFNMAP_H
#define HWP_HUGE_PFNMAP_H

#include <stddef.h>

#define HUGE_PFNMAP_SIZE (1UL << 30)

/*
 * Hands the card to vfio-pci and lets the kernel map huge leaves. Returns its address on the bus, such as
 * "0000:00:01.0", in memory that the next call overwrites, or NULL when there is no card or no driver for it.
 */
const char *huge_pfnmap_bind(void);

/*
 * Maps the BAR of the card at this address on the bus, `shift` bytes above an address that is aligned to
 * 1 GiB, and touches all of it. Returns the mapping, or NULL with errno set. What it opens stays open, as
 * the mapping depends on it.
 */
char *huge_pfnmap_map(const char *card, size_t shift);

#endif
