# SPDX-License-Identifier: GPL-2.0-or-later
"""Ways to move x kinds of memory x moments at which poison comes: the rows of ../matrix, a test each.

A guest has pages poisoned, for real but where the row says otherwise, and moves. Either it arrives with exactly these
pages poisoned, and every other page as it was, or it is refused and goes on where it is, with the same poison.
Which of the two, and with what words, is in docs/modes.md; a run that differs fails. After a change that is meant,
HWP_UPDATE_MODES=1 writes what was seen to that document.
"""

import functools
import os
import re

from cases.precopy import expect_poisoned
from hwhosts import matrix, poison, vhost_user
from hwhosts.base import PACKAGE, Timeout
from hwhosts.memory import GIB, KINDS, MIB, SIZE, Extra, Rom
from hwhosts.modes import MODES
from hwhosts.moves import Refused
from hwhosts.runner import TESTS, Test, expect, expect_equal

PAGES = (0, 100, 101, 102, 5000, 9000, 16383)
LATE = (300, 7000)
NOBODY = "/run/nobody.sock"


class Poison:
    """What is done to the main memory of a guest, of which the row tells how and when. `addresses` are the pages that
    are poisoned when all is done."""

    def __init__(self, guest, kind, row):
        self.guest = guest
        self.kind = kind
        self.how = row.how
        # What has been migrated to a huge page may be of a part of it
        self.page = poison.PAGE if row.how == "emulated" and kind.agent_options else kind.page
        first, late = self._choose()
        if row.moment == "before":
            late, first = first, []
        elif not MODES[row.mode].begins_with_poison:
            first = []
        poison.inject(guest, first)
        self._next = late
        self._frames = None
        self.addresses = sorted(page for one in first + late for page in range(one, one + self.page, poison.PAGE))

    def _choose(self):
        """The addresses to poison now or at the start, and those to poison later."""
        if self.page == poison.PAGE:
            first = self.guest.ask_pages("gpa", PAGES)["gpa"]
            expect_equal("RAM blocks with poison", len({self.kind.place(page)[0] for page in first}), self.kind.blocks)
            return first, self.guest.ask_pages("gpa", LATE)["gpa"]
        # Huge pages of nothing but the pattern: the guest's kernel does not survive without its own
        pages = self.guest.ask_pages("gpa", range(64 * MIB // poison.PAGE))["gpa"]
        counts = {}
        for page in pages:
            start = page - page % self.kind.page
            counts[start] = counts.get(start, 0) + 1
        whole = sorted(start for start, count in counts.items() if count * poison.PAGE == self.kind.page)
        expect(len(whole) >= 4, f"the pattern fills just {len(whole)} huge pages")
        return [whole[0], whole[-1]], [whole[2]]

    def aim(self):
        """Looks up the page frames of what is to be poisoned for real. QEMU writes to a page for that."""
        self._frames = poison.page_frames(self.guest, self._next)

    def happen(self):
        """Poisons what the row is about."""
        if self.how == "real":
            poison.inject(self.guest, self._next, frames=self._frames)
        elif self.page == self.kind.page:
            self._emulate()
        else:  # QEMU splits no huge page of a guest that runs
            self.guest.qmp.execute("stop")
            self._emulate()
            self.guest.qmp.execute("cont")

    def _emulate(self):
        for address in self._next:
            block, offset = self._place(address)
            self.guest.qmp.execute("x-inject-memory-poison", {
                "block-id": block, "offset": offset, "length": self.page, "hidden": self.how == "hidden"})

    def _place(self, address):
        """The RAM block of a page, and the offset there."""
        return self.kind.place(address)

    def start_writing(self):
        """The guest writes to all good pages, over and over."""
        self.guest.ask_pages("dirty start", PAGES)

    def stop_writing(self):
        """It stops, and what is poisoned next is what it wrote last."""
        self.guest.ask("dirty stop")
        self.guest.ask_pages("rewrite", LATE)

    def expect_found(self, guest):
        """All of it is in this guest, and nothing else."""
        expect_poisoned(guest.check(), self.addresses)

    def expect_arrived(self, guest):
        """So it is, and in QEMU's set."""
        expect_equal("poison set", poison.pages(poison.reported(guest)), self.addresses)
        self.expect_found(guest)


class PoisonBeside(Poison):
    """The same for memory of which the guest makes no use."""

    def _choose(self):
        start = self.kind.start(self.guest)
        self._start = start
        self._healthy = [] if self.page == GIB else [start + number * self.page for number in (0, 3, 7, 9)]
        first = [start] if self.page == GIB else [start + number * self.page for number in (1, 2, 8)]
        if not isinstance(self.kind, Rom):
            self._look(self.guest, "fill", first + self._healthy)
        self._contents = self._look(self.guest, "read", self._healthy)
        return first, []

    def _place(self, address):
        # Its name may have the path of the device
        return re.search(r"(\S*extra)\s", self.guest.qmp.monitor("info ramblock"))[1], address - self._start

    @staticmethod
    def _look(guest, what, addresses):
        requests = [guest.qmp.send("human-monitor-command", {"command-line": f"gpa2hva 0x{address:x}"})
                    for address in addresses]
        answers = [guest.qmp.answer(request) for request in requests]
        places = [re.search(r"is (0x[0-9a-f]+)", answer)[1] for answer in answers]
        return guest.host.run(PACKAGE / "process-memory", guest.process.pid(), what, *places).stdout.split()

    def expect_found(self, guest):
        expect_poisoned(guest.check(), [])
        some = self.addresses[::max(1, len(self.addresses) // 1024)]
        expect_equal("pages of memory that the guest does not use", set(self._look(guest, "read", some)), {"poisoned"})
        expect_equal("their neighbours", self._look(guest, "read", self._healthy), self._contents)
        left_out = [self._start + offset for offset in self.kind.unplugged]
        expect_equal("pages that are not plugged", set(self._look(guest, "present", left_out)) - {"0"}, set())


def prepare(world, host, kinds):
    """Gives a host what memory of these kinds needs, and takes from it what that of others left."""
    thp = next((kind.thp for kind in kinds if kind.thp != "madvise"), "madvise")
    pages = sum(kind.huge_pages for kind in kinds)
    host.shell("rm -f /dev/shm/vm* /shared/vm*.memory")
    for kind in kinds:
        if kind.served:
            vhost_user.serve(world, host)
        if kind.existing:
            host.run("truncate", "-s", f"{kind.size}M", kind.existing)
    host.use_huge_pages(thp)
    # Poisoned huge pages stay in the pool for good
    host.shell("cd /sys/kernel/mm/hugepages/hugepages-2048kB;"
               "echo 0 >nr_hugepages; echo 1 >/proc/sys/vm/compact_memory;"
               f"echo $(({pages} + $(cat nr_hugepages))) >nr_hugepages; test $(cat free_hugepages) -ge {pages}")


def own_words(guest):
    """What a QEMU has said before it ended."""
    return [line.partition("qemu-system-x86_64: ")[2] for line in guest.qemu_log().splitlines()
            if "qemu-system-x86_64: " in line]


def refusal(refused, destination):
    """The words of a refusal: the source's if they are of poison. Else the destination has refused, and has its own;
    the source knows then just that it failed, or that the connection is gone, whichever comes first."""
    words = [str(refused)]
    if destination and not refused.early:
        try:
            status = destination.wait_end(10)
            expect(status < 128, f"the destination crashed: {status}; {destination.qemu_log()[-300:]}")
        except Timeout:
            pass  # it waits for another attempt
        lines = own_words(destination)
        words = words if "poison" in words[0] else lines or words
    return "refused: " + re.sub(r"0x[0-9a-f]+", "0x…", "; ".join(words)).replace("|", "/")


def peer(world, mode, kind):
    """Options of the destination's QEMU."""
    return {"": {"agent_options": kind.agent_options},
            "no agent": {"agent": None},
            "gone agent": {"agent": NOBODY},
            "stock QEMU": {"agent": None, "qemu": world.settings.stock_qemu}}[mode.peer]


def outcome(world, row):
    """Moves a guest as the row says; returns "carried", or "refused: " and the words."""
    mode, kind, new_kind = MODES[row.mode], KINDS[row.source], KINDS[row.destination]
    here, there = world.pair.a, world.pair.a if mode.local else world.pair.b
    for host in {here, there}:
        prepare(world, host, [k for k, where in ((kind, here), (new_kind, there)) if where is host])
    source = world.guest(here, memory=SIZE, extra=kind.arguments("vm1"),
                         agent_options=kind.agent_options).wait_ready()
    kind.complete(source)
    beside = isinstance(kind, (Extra, Rom))
    done = (PoisonBeside if beside else Poison)(source, kind, row)

    def destination(incoming=True, extra=(), connect=True):
        name = "vm2" if mode.local and source.process.running else "vm1"
        memory = new_kind.arguments("vm1" if mode.same_memory else name, True)
        guest = world.prepared_guest(there, name=name, incoming=incoming, memory=SIZE, extra=[*memory, *extra],
                                     **peer(world, mode, new_kind))
        return guest.start() if connect else guest.launch()

    move = mode.move(mode, source, destination, row.moment, done)
    try:
        move.run()
    except Refused as refused:
        expect(source.alive(), "the guest does not run on the source")
        done.expect_found(source)
        return refusal(refused, move.destination)
    done.expect_arrived(move.destination)
    world.agent(there).wait_pages_of(move.destination.name, done.addresses)
    return "carried"


def as_documented(world, row):
    """The test of a row."""
    seen = outcome(world, row)
    if os.environ.get("HWP_UPDATE_MODES"):
        matrix.record(row, seen)
    expect(seen == matrix.known(row), f"{row}: {seen}; docs/modes.md says {matrix.known(row)}")
    return seen


def hardware(row):
    """What the hosts of a row are made of: more than usual, if one of the two kinds needs it."""
    return max((KINDS[name].hardware for name in (row.source, row.destination)), key=lambda one: one.memory)


for _row in matrix.rows():
    TESTS.append(Test(f"matrix/{_row.name}", _row.depth, functools.partial(as_documented, row=_row),
                      hardware=hardware(_row)))
