# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways to move x kinds of memory x moments at which poison comes: the rows of ../matrix, a test each.

A guest has pages poisoned, for real but where the row says `hidden`, and moves. Either it arrives with exactly these
pages poisoned, and every other page as it was, or it is refused and goes on where it is, with the same poison.
Which of the two, and with what words, is in docs/modes.md; a run that differs fails. After a change that is meant,
HWP_UPDATE_MODES=1 writes what was seen to that document.
"""

import functools
import os
import re

from cases.precopy import expect_poisoned
from hwhosts import matrix, poison
from hwhosts.base import Timeout
from hwhosts.moves import MODES, Move, Refused
from hwhosts.runner import TESTS, Test, expect, expect_equal

PAGES = (0, 100, 101, 5000, 9000)
LATE = (300, 7000)
SIZE = 256  # MiB

KINDS = {
    "anonymous": ("ram", "share=off"),
    "anonymous, prealloc": ("ram", "share=off,prealloc=on"),
    "shared anonymous": ("ram", "share=on"),
    "memfd": ("memfd", "share=on"),
    "tmpfs, shared": ("file", "share=on,mem-path=/dev/shm/{name}"),
    "tmpfs, private": ("file", "share=off,mem-path=/dev/shm/{name}"),
    "hugetlb 2M": ("memfd", "share=on,hugetlb=on,hugetlbsize=2M"),
    "hugetlb 2M, private": ("memfd", "share=off,hugetlb=on,hugetlbsize=2M"),
}
"""A guest's memory: QEMU's backend and its options. The RAM block has the same name with all."""


def memory_options(kind, name):
    """QEMU's arguments for a kind of memory."""
    backend, options = KINDS[kind]
    return ["-machine", "memory-backend=pc.ram", "-object",
            f"memory-backend-{backend},id=pc.ram,size={SIZE}M,x-use-canonical-path-for-ramblock-id=off,"
            + options.format(name=name)]


def hide(guest, addresses):
    """Poisons pages so that QEMU does not know; emulated, as it would hear of real poison."""
    for address in addresses:
        guest.qmp.execute("x-inject-memory-poison",
                          {"block-id": "pc.ram", "offset": address, "length": poison.PAGE, "hidden": True})


def prepare_huge_pages(world, *kinds):
    """Huge pages in both hosts, if one of the kinds needs them, or none."""
    number = SIZE // 2 if any(kind.startswith("hugetlb") for kind in kinds) else 0
    for host in (world.pair.a, world.pair.b):
        host.run("/bin/sh", "-c", f"echo {number} >/proc/sys/vm/nr_hugepages; rm -f /dev/shm/vm*")


def expect_arrived(guest, addresses):
    """It has the poison, in QEMU's set and in memory, and everything else as it was."""
    expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
    expect_poisoned(guest.check(), addresses)


def refusal(refused, destination):
    """The words of a refusal: the source's; if the destination has ended, its own, as the source knows then just that
    it failed, or that the connection is gone, whichever comes first."""
    try:
        destination.wait_end(10)
        words = [line.partition("qemu-system-x86_64: ")[2]
                 for line in destination.qemu_log().splitlines() if "qemu-system-x86_64: " in line]
    except Timeout:
        words = [str(refused)]
    return "refused: " + re.sub(r"0x[0-9a-f]+", "0x…", "; ".join(words)).replace("|", "/")


def outcome(world, row):
    """Moves a guest as the row says; returns "carried", or "refused: " and the words."""
    mode = MODES[row.mode]
    prepare_huge_pages(world, row.source, row.destination)
    source = world.guest(world.pair.a, memory=SIZE, extra=memory_options(row.source, "vm1")).wait_ready()
    addresses = source.ask_pages("gpa", PAGES)["gpa"]
    late = source.ask_pages("gpa", LATE)["gpa"]
    add = hide if row.how == "hidden" else poison.inject
    there = world.pair.a if mode.uri else world.pair.b
    name = "vm2" if mode.uri else "vm1"
    destination = world.guest(there, name=name, incoming=True, memory=SIZE, extra=memory_options(row.destination, name))

    def happen():
        add(source, addresses if row.moment == "before" else late)

    if row.moment != "before":
        poison.inject(source, addresses)
        addresses = addresses + late
    addresses = sorted(addresses)
    try:
        Move(mode, source, destination, row.moment, happen).run()
    except Refused as refused:
        expect_poisoned(source.check(), addresses)
        return refusal(refused, destination)
    expect_arrived(destination, addresses)
    world.agent(there).wait_pages_of(name, addresses)
    return "carried"


def as_documented(world, row):
    """The test of a row."""
    seen = outcome(world, row)
    if os.environ.get("HWP_UPDATE_MODES"):
        matrix.record(row, seen)
    expect(seen == matrix.known(row), f"{row}: {seen}; docs/modes.md says {matrix.known(row)}")
    return seen


for _row in matrix.rows():
    TESTS.append(Test(f"matrix/{_row.name}", _row.depth, functools.partial(as_documented, row=_row)))
