# SPDX-License-Identifier: GPL-2.0-or-later
"""What our changes to Linux are for, seen from user mode: poison that stays, and what is logged of it.

poison-toucher counts its own SIGBUS and the kernel's "MCE: Killing" lines; see guest/poison-toucher.c.
"""

import json
import struct

from hwhosts import cpio
from hwhosts.base import Deadline
from hwhosts.host import ConsoleMachine, Machine
from hwhosts.runner import expect, expect_equal, test

TOUCHES = 1000
STORM_SECONDS = 10


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


def json_report(text):
    """What poison-toucher said on the console of a machine of its own."""
    reports = [line for line in text.splitlines() if line.startswith('{"kernel"')]
    expect(reports, f"no report; its last words: {text[-300:]}")
    return json.loads(reports[-1])


def expect_stormy(report):
    """All the threads' touches were memory errors; a slow machine may get to a few only. Returns a remark."""
    expect_equal("SIGBUS", report["sigbus"], report["touches"])
    expect(report["rounds"] > 10, f"only {report['rounds']} rounds in {STORM_SECONDS} s")
    return (f"{report['rounds']} rounds and {report['touches']} touches in {STORM_SECONDS} s, "
            f"{report['mce_log_lines'] + report['log_lines_lost']} lines")


@test(also_on=("7.3",))
def poison_storm_is_quiet(world):
    """A hostile program, which poisons, touches and heals pages as fast as it can, cannot fill the log."""
    program = world.settings.guest_program("poison-toucher")
    host = world.pair.a
    report = json.loads(host.run(program, "--storm", STORM_SECONDS, "--count-log", check=False).stdout)
    expect_equal("lines in the kernel log", (report["mce_log_lines"], report["log_lines_lost"]), (0, 0))
    return expect_stormy(report)


@test()
def poison_storm_fills_the_log_of_debian(world):
    """That is what the patches are for: the line it logs for each touch leaves no room for others."""
    machine = ConsoleMachine(world.settings, "debian-storm", world.directory)
    machine.start(world.settings.debian_kernel, world.settings.guest_program("poison-toucher"),
                  ["--init", "--storm", str(STORM_SECONDS)])
    try:
        report = json_report(machine.wait_off(120))
    finally:
        machine.stop()
    expect_equal("lines in the kernel log", report["mce_log_lines"] + report["log_lines_lost"],
                 report["sigbus"])
    return expect_stormy(report)


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
    expect_touched(json_report(text), TOUCHES)
