# SPDX-License-Identifier: GPL-2.0-or-later
"""Device memory in huge leaves, at fork: what only the machine below can see.

The series' selftest pfnmap-fork counts page faults (see selftests.py). What it cannot find out, whether a
leaf was accessed, is read here from the page table of the processor, through the monitor of the outer QEMU.
"""

import contextlib
import dataclasses
import re
import select
import socket

from hwhosts import pfnmap
from hwhosts.base import HarnessError, Timeout, deadline
from hwhosts.host import Host
from hwhosts.qmp import Qmp
from hwhosts.runner import expect, expect_equal, test

LEAVES = {1 << 30: 0, 2 << 20: 2 << 20}
"""Size of a leaf: how far from an address that is aligned to 1 GiB memory has to be mapped to get it."""


class _Monitor:
    """Lines from and to the monitor of the outer QEMU, as Qmp wants them."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._buffer = b""

    def write(self, text):
        self._socket.sendall(text.encode())

    def read_line(self, limit):
        limit = deadline(limit)
        while b"\n" not in self._buffer:
            if select.select([self._socket], [], [], limit.left("a line of the outer QEMU's monitor"))[0]:
                data = self._socket.recv(1 << 20)
                if not data:
                    raise HarnessError("the outer QEMU closed its monitor")
                self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()


@contextlib.contextmanager
def host_with_card(world, name):
    """A host with the card, handed to vfio-pci; returns it, the card's address and the host's monitor."""
    path = world.directory / f"{name}.monitor"
    devices = (*pfnmap.HARDWARE.devices, "-qmp", f"unix:{path},server=on,wait=off")
    host = Host(world.settings, name, world.directory,
                hardware=dataclasses.replace(pfnmap.HARDWARE, devices=devices))
    try:
        host.boot()
        monitor = Qmp(_Monitor(path))
        monitor.connect()
        yield host, pfnmap.bind(host), monitor
        found = host.new_offences()
        expect(not found, "kernel log: " + "; ".join(found[:5]))
    finally:
        host.stop()


def leaves_now(monitor, address):
    """The flags of each leaf from `address` on, of the page table that processor 0 is using."""
    monitor.execute("stop")
    table = monitor.monitor("info tlb")
    monitor.execute("cont")
    rows = re.findall(r"^([0-9a-f]{16}): [0-9a-f]{16} (\S{9})", table, re.MULTILINE)
    return [flags for virtual, flags in rows if address <= int(virtual, 16) < address + pfnmap.SIZE]


def leaves(monitor, address):
    """The same of the process that is in a loop there: now and then another one takes its place."""
    limit = deadline(30)
    while not (found := leaves_now(monitor, address)):
        limit.left("the process on processor 0")
    return found


def end_holder(holder):
    """Ends both processes. One of them never leaves user mode, so it sees a signal at the next interrupt; once that took
    longer than 30 s, on a machine below that had just been stopped and continued, and it is not known why. Asking
    again is an interrupt more; a process that cannot end stays, whatever it is sent."""
    for _ in range(2):
        holder.kill(15)
        with contextlib.suppress(Timeout):
            return holder.wait(15)
    holder.kill(9)
    return holder.wait(30)


def expect_leaves(host, monitor, card, size, who, touched):
    """Looks at the leaves of either process after fork()."""
    options = ["touch"] if touched else []
    holder = host.spawn(host.settings.guest_program("pfnmap-holder"), card, LEAVES[size], who, *options)
    try:
        found = leaves(monitor, int(holder.read_line(60), 16))
    finally:
        end_holder(holder)
    what = f"leaves of {size >> 20} MiB, {who}{', touched' if touched else ''}"
    expect_equal(f"number of {what}", len(found), pfnmap.SIZE // size)
    young = who == "parent" or touched
    for flags in set(found):
        expect("P" in flags and "W" in flags, f"{what}: not huge or not writable: {flags}")
        expect_equal(f"{what}: accessed ({flags})", "A" in flags, young)


@test(also_on=("7.3",))
def leaves_after_fork(world):
    """Writable in parent and child, young in the parent, old in the child until it touches them."""
    with host_with_card(world, "leaves") as (host, card, monitor):
        for size in LEAVES:
            for who in ("parent", "child"):
                for touched in (False, True):
                    expect_leaves(host, monitor, card, size, who, touched)
