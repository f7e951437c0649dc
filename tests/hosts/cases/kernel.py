# SPDX-License-Identifier: GPL-2.0-or-later
"""What our changes to Linux are for, seen from user mode: poison that stays, and what is logged of it.

poison-toucher counts its own SIGBUS and the kernel's "MCE: Killing" lines; see guest/poison-toucher.c.
"""

import json
import struct

from hwhosts import cpio
from hwhosts.base import Deadline
from hwhosts.host import Machine
from hwhosts.runner import expect, expect_equal, test

TOUCHES = 1000


def expect_touched(report, lines):
    """Each touch was a memory error to the program, and so many lines were logged."""
    what = f"{report['mode']}, hugetlb {report['hugetlb']}, fork {report['fork']}"
    expect_equal(f"SIGBUS ({what})", report["sigbus"], TOUCHES)
    expect_equal(f"si_code ({what})", report["si_code"], "BUS_MCEERR_AR")
    expect_equal(f"si_addr_lsb ({what})", report["si_addr_lsb"], 21 if report["hugetlb"] else 12)
    expect_equal(f"lines in the kernel log ({what})", report["mce_log_lines"], lines)


def touch(world, *options):
    """Runs poison-toucher in host a; returns its report."""
    program = world.settings.guest_program("poison-toucher")
    command = (program, "--touches", TOUCHES, "--count-log", *options)
    return json.loads(world.pair.a.run(*command, check=False).stdout)


@test("quick")
def emulated_poison_is_quiet(world):
    """A small page and a huge one, also in a child that has inherited it."""
    world.pair.a.shell("echo 4 >/proc/sys/vm/nr_hugepages")
    for options in ((), ("--fork",), ("--hugetlb",), ("--hugetlb", "--fork")):
        expect_touched(touch(world, *options), 0)


@test()
def real_poison_is_logged(world):
    """Once for each touch: nothing limits the rate."""
    world.pair.a.shell("echo 4 >/proc/sys/vm/nr_hugepages")
    for options in ((), ("--fork",), ("--hugetlb",), ("--hugetlb", "--fork")):
        expect_touched(touch(world, "--real", *options), TOUCHES)


@test()
def poison_survives_collapse(world):
    """khugepaged and MADV_COLLAPSE free page tables; not those that have poison in them."""
    expect_touched(touch(world, "--collapse"), 0)


class SwapErrorMachine(Machine):
    """A machine that runs poison-toucher on a swap disk, some sectors of which cannot be read."""

    PAGES = 2048
    BAD_PAGES = (20, 21, 60, 100, 150, 200)

    def _disk(self):
        """A disk with a swap signature, in the kernel's format (union swap_header)."""
        path = self.directory / "swap"
        header = bytearray(4096)
        struct.pack_into("<III", header, 1024, 1, self.PAGES - 1, 0)
        header[-10:] = b"SWAPSPACE2"
        path.write_bytes(header)
        with open(path, "r+b") as disk:
            disk.truncate(self.PAGES * 4096)
        return path

    def _errors(self):
        """What QEMU's blkdebug is to do."""
        path = self.directory / "errors"
        path.write_text("".join('[inject-error]\nevent = "none"\niotype = "read"\n'
                                f'sector = "{page * 8}"\n\n' for page in self.BAD_PAGES))
        return path

    def run(self, limit=60):
        """Boots it; returns what it printed when it has powered off."""
        program = self.settings.guest_program("poison-toucher")
        self.launch(["-kernel", str(self.settings.kernel), "-initrd",
                     str(cpio.initramfs(program, self.settings.cache)), "-append",
                     f"console=ttyS0 loglevel=3 panic=-1 -- --init --touches {TOUCHES} "
                     "--swap-error /dev/vda",
                     "-drive", f"if=none,id=swap,format=raw,rerror=report,"
                     f"file=blkdebug:{self._errors()}:{self._disk()}",
                     "-device", "virtio-blk-pci,drive=swap"])
        try:
            self.process.wait(Deadline(limit).seconds)
        finally:
            text = self.serial_text()
            self.stop()
        return text


@test()
def swap_errors_are_logged(world):
    """They leave the same kind of marker as emulated poison, but are errors of this machine."""
    text = SwapErrorMachine(world.settings, "swap", world.directory).run()
    reports = [line for line in text.splitlines() if line.startswith("{")]
    expect(reports, f"no report; its last words: {text[-300:]}")
    expect_touched(json.loads(reports[0]), TOUCHES)
