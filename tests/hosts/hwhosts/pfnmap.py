# SPDX-License-Identifier: GPL-2.0-or-later
"""A device whose memory is mapped in leaves of 1 GiB and 2 MiB, without struct pages: QEMU's shared memory
card, which vfio-pci hands to user space in the host. See guest/huge-pfnmap.h."""

from .host import Hardware

SIZE = 1 << 30

HARDWARE = Hardware(
    devices=("-machine", "q35", "-device", "intel-iommu",
             "-object", f"memory-backend-ram,id=bar,size={SIZE},share=on",
             "-device", "ivshmem-plain,memdev=bar"),
    options="intel_iommu=on")


def bind(host):
    """Hands the card of a host with HARDWARE to vfio-pci; returns its address on the bus."""
    return host.run(host.settings.guest_program("pfnmap-holder"), "bind").stdout.strip()
