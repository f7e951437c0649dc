# SPDX-License-Identifier: GPL-2.0-or-later
"""The kinds of memory that a guest can have, by name: QEMU's arguments for each, and what its host must have."""

import dataclasses

from . import vhost_user
from .base import HarnessError
from .host import PLAIN, Hardware
from .poison import PAGE

SIZE = 256  # MiB: a guest's main memory
MIB, GIB = 1 << 20, 1 << 30
GIGANTIC = Hardware(memory=9216, options="hugepagesz=1G hugepages=6")
"""Hosts with huge pages of 1 GiB, which have to be set aside at boot."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """Main memory of QEMU's `backend` with its `options`."""
    backend: str = "ram"
    options: str = "share=off"
    page: int = PAGE  # what is lost at once
    blocks: int = 1
    thp: str = "madvise"  # transparent huge pages in the host
    more: tuple = ()  # arguments
    hardware: Hardware = PLAIN  # of its hosts
    existing: str = ""  # a file that it must find
    agent_options: str = ""  # of QEMU's agent object
    size: int = SIZE  # MiB
    served: bool = False  # mapped by a vhost-user backend, too

    def arguments(self, name, _hot_added=False):
        """QEMU's, for the guest of this name."""
        return ["-machine", "memory-backend=pc.ram", "-object", self.object("pc.ram", SIZE, name), *self.more]

    def object(self, block, size, name):
        """Its backend, by which the RAM block has the same name with all kinds."""
        return (f"memory-backend-{self.backend},id={block},size={size}M,x-use-canonical-path-for-ramblock-id=off,"
                + self.options.format(name=name))

    @property
    def huge_pages(self):
        """How many of 2 MiB it takes."""
        return self.size // 2 if self.page == 2 * MIB else 0

    def complete(self, guest):
        """Gives a running guest what its command line could not, or waits for that."""

    def place(self, address):
        """The RAM block of a guest-physical address, and the offset there."""
        return "pc.ram", address


@dataclasses.dataclass(frozen=True)
class Nodes(Kind):
    """Main memory of two backends, each a NUMA node. The first cannot hold all of the pattern."""
    blocks: int = 2
    first: int = 96  # MiB

    def arguments(self, name, _hot_added=False):
        sizes = enumerate((self.first, SIZE - self.first))
        return [word for number, size in sizes for word in (
            "-object", self.object(f"ram{number}", size, name), "-numa", f"node,memdev=ram{number}")]

    def place(self, address):
        start = self.first * MIB
        return ("ram1", address - start) if address >= start else ("ram0", address)


@dataclasses.dataclass(frozen=True)
class Extra(Kind):
    """Memory of a `device` beside the main one."""
    device: str = "pc-dimm"
    size: int = 128
    hot: bool = False  # added at the source when the guest runs
    plugged: int = 0  # MiB that the guest takes of it by and by
    machine: str = "pc"

    def arguments(self, name, hot_added=False):
        plain = ["-machine", self.machine, "-m", f"{SIZE},slots=2,maxmem=8G", *self.more]
        if self.hot and not hot_added:
            return plain
        return [*plain, "-object", self.object("extra", self.size, name),
                "-device", f"{self.device},id=device,memdev=extra"]

    def complete(self, guest):
        if self.plugged:
            guest.qmp.wait_event("MEMORY_DEVICE_SIZE_CHANGE", lambda data: data["size"] == self.plugged * MIB, 60)
        if self.hot:
            guest.qmp.monitor(f"object_add {self.object('extra', self.size, guest.name)}")
            guest.qmp.monitor(f"device_add {self.device},id=device,memdev=extra")

    @property
    def unplugged(self):
        """Offsets of pages that the guest has not taken."""
        return range(self.plugged * MIB, self.size * MIB, MIB) if self.plugged else []

    @staticmethod
    def start(guest):
        """Where the guest has it."""
        devices = guest.qmp.execute("query-memory-devices")
        if len(devices) != 1:
            raise HarnessError(f"the guest has {len(devices)} memory devices")
        data = devices[0]["data"]
        return data["addr"] if "addr" in data else data["memaddr"]


@dataclasses.dataclass(frozen=True)
class Rom(Kind):
    """The firmware, beside plain main memory."""
    unplugged: tuple = ()

    @staticmethod
    def start(_guest):
        """Where it ends, in its last page."""
        return 0xffff_0000


_HUGE = "hugetlb=on,hugetlbsize=2M"
_SPLIT = {"page": 2 * MIB, "agent_options": ",split-hugetlb=on"}
_GIGANTIC = {"backend": "memfd", "options": "share=on,hugetlb=on,hugetlbsize=1G", "page": GIB, "size": 1024,
             "hardware": GIGANTIC}
_SERVED = {"backend": "memfd", "options": "share=on", "more": vhost_user.DEVICE, "served": True}
_NVDIMM = {"backend": "file", "options": "share=on,mem-path=/dev/shm/{name}", "device": "nvdimm", "machine": "nvdimm=on"}

KINDS = {
    "anonymous": Kind(),
    "anonymous, prealloc": Kind(options="share=off,prealloc=on"),
    "anonymous, mem-lock": Kind(more=("-overcommit", "mem-lock=on")),
    "anonymous, THP always": Kind(thp="always"),
    "anonymous, THP never": Kind(thp="never"),
    "shared anonymous": Kind(options="share=on"),
    "memfd": Kind("memfd", "share=on"),
    "memfd, aux-ram-share": Kind("memfd", "share=on", more=("-machine", "aux-ram-share=on")),
    "memfd, vhost-user": Kind(**_SERVED),
    "memfd, vhost-user=refuse": Kind(**_SERVED, agent_options=",vhost-user=refuse"),
    "tmpfs, shared": Kind("file", "share=on,mem-path=/dev/shm/{name}"),
    "tmpfs, private": Kind("file", "share=off,mem-path=/dev/shm/{name}"),
    "hugetlb 2M": Kind("memfd", f"share=on,{_HUGE}", 2 * MIB),
    "hugetlb 2M, private": Kind("memfd", f"share=off,{_HUGE}", 2 * MIB),
    "hugetlb 2M, split": Kind("memfd", f"share=on,{_HUGE}", **_SPLIT),
    "hugetlb 2M private split": Kind("memfd", f"share=off,{_HUGE}", **_SPLIT),
    "hugetlb 2M, widen": Kind("memfd", f"share=on,{_HUGE}", 2 * MIB, agent_options=",widen=on"),
    "hugetlb 2M, prealloc": Kind("memfd", f"share=on,{_HUGE},prealloc=on", 2 * MIB),
    "file on 9p, private": Kind("file", "share=off,mem-path=/shared/{name}.memory"),
    "two NUMA nodes": Nodes(),
    "two NUMA nodes of memfd": Nodes("memfd", "share=on"),
    "hot-added DIMM": Extra(hot=True),
    "hot-added DIMM of memfd": Extra("memfd", "share=on", hot=True),
    "virtio-mem, half plugged": Extra(device="virtio-mem-pci,requested-size=64M", plugged=64),
    "NVDIMM": Extra(**_NVDIMM),
    "NVDIMM, read-only": Extra(**{**_NVDIMM, "options": _NVDIMM["options"] + ",readonly=on",
                                  "device": "nvdimm,unarmed=on", "existing": "/dev/shm/vm1"}),
    "NVDIMM, pmem=on": Extra(**{**_NVDIMM, "options": _NVDIMM["options"] + ",pmem=on"}),
    "DIMM of hugetlb 1G": Extra(**_GIGANTIC),
    "DIMM of hugetlb 2M": Extra("memfd", f"share=on,{_HUGE}", 2 * MIB, size=1024, hardware=GIGANTIC),
    "DIMM of 1 GiB, anonymous": Extra(size=1024, hardware=GIGANTIC),
    "ROM": Rom(),
}
