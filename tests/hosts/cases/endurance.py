# SPDX-License-Identifier: GPL-2.0-or-later
"""Many migrations one after another: with new poison each time, and with something killed on the way each time."""

import collections
import contextlib
import dataclasses
import itertools
import os
import random
import types

from cases.precopy import expect_poisoned
from hwhosts import poison
from hwhosts.base import HarnessError
from hwhosts.cutshort import VICTIMS, CutShort
from hwhosts.guest import quit_politely
from hwhosts.modes import MODES
from hwhosts.moves import FAST
from hwhosts.runner import expect, expect_equal, test

CYCLE = (
    ("precopy", "before"),
    ("multifd", "before"),
    ("postcopy", "before"),
    ("precopy, xbzrle", "rounds"),
    ("multifd, zstd", "before"),
    ("postcopy, preempt", "postcopy"),
    ("precopy, pause-before-switchover", "switchover"),
    ("file, mapped-ram, multifd", "before"),
    ("multifd, zlib", "rounds"),
    ("postcopy", "rounds"),
)
"""How the guest moves, and when on the way its next pages go bad."""

MEMORY = 256  # MiB


def bad_pages(number):
    """The pages of the pattern that go bad on this hop: one or two, anywhere, neighbours at times."""
    first = number * 311 % 16000
    return [first] if number % 2 else [first, first + 1 + number % 3]


def mappings_of_memory(guest):
    """How many mappings QEMU's process has for the guest's memory."""
    start = int(guest.qmp.monitor("gpa2hva 0").split()[-1], 16)
    maps = guest.host.run("cat", f"/proc/{guest.process.pid()}/maps").stdout
    spans = [[int(end, 16) for end in line.split()[0].split("-")] for line in maps.splitlines()]
    return sum(low < start + (MEMORY << 20) and high > start for low, high in spans)


def open_files(agent):
    """How many files an agent has open."""
    return len(agent.host.run("ls", f"/proc/{agent.process.pid()}/fd").stdout.split())


def forget_last_move(guest):
    """What was set for the way by which it came must not be set for the way by which it goes."""
    capabilities = [{"capability": one["capability"], "state": False}
                    for one in guest.qmp.execute("query-migrate-capabilities") if one["state"]]
    guest.qmp.execute("migrate-set-capabilities", {"capabilities": capabilities})
    guest.qmp.execute("migrate-set-parameters", {"max-bandwidth": FAST, "max-postcopy-bandwidth": 0})


@dataclasses.dataclass
class Traveller:
    """The guest on its way, and what has happened to it."""

    world: object
    guest: object
    bad: list = dataclasses.field(default_factory=list)  # pages of its pattern
    addresses: list = dataclasses.field(default_factory=list)
    touched: set = dataclasses.field(default_factory=set)

    def hop(self, number):
        """Moves it, with new poison on the way."""
        name, moment = CYCLE[number % len(CYCLE)]
        pages = bad_pages(number)
        # Asked for now: when the moment comes, the guest may have left.
        addresses = self.guest.ask_pages("gpa", pages)["gpa"]
        mode, source, world = MODES[name], self.guest, self.world
        there = source.host if mode.local else world.pair.other(source.host)
        forget_last_move(source)
        # QEMU ends on the source after the move, but for a file before it.
        destination = world.guest(there, name=f"hop{number}", incoming=True, memory=MEMORY)
        late = types.SimpleNamespace(happen=lambda: poison.inject(source, addresses))
        mode.move(mode, source, lambda: destination, moment, late).run()
        self.bad += pages
        self.addresses = sorted(self.addresses + addresses)
        if not mode.to_file:
            quit_politely(source)
        self.guest = destination

    def expect_whole(self):
        """It has its poison, by all accounts, and all the rest of its memory."""
        guest = self.guest
        agent = self.world.agent(guest.host)
        expect_equal("poison set", poison.pages(poison.reported(guest)), self.addresses)
        expect_equal("guests in the inventory", agent.guests(), [guest.name])
        expect_equal("pages in the inventory", agent.pages_of(guest.name), self.addresses)
        expect_equal("guests that stayed behind", self.world.agent(self.world.pair.other(guest.host)).guests(), [])
        expect_poisoned(guest.ask_pages("check-but", self.bad), [])
        expect_equal("mappings of the guest's memory", mappings_of_memory(guest), 1)

    def touch(self, page):
        """The guest finds a page bad, in its memory. It will not get as far again."""
        expect_poisoned(self.guest.ask_pages("check-only", [page]), self.guest.ask_pages("gpa", [page])["gpa"])
        self.touched.add(page)

    def expect_all_bad(self):
        """Each page of the poison is bad when it is touched: in memory, unless the guest knows it to be bad."""
        check = self.guest.check()
        expect_poisoned(check, self.addresses, touched=False)
        expect_equal("pages that the guest's kernel knew", {page["page"] for page in check["sigbus"] if page["known"]},
                     self.touched)


def travel(world, hops):
    """A guest makes this many hops."""
    traveller = Traveller(world, world.guest(world.pair.a, memory=MEMORY).wait_ready())
    agents = [world.agent(host) for host in world.pair.hosts]
    files = None
    for number in range(hops):
        try:
            traveller.hop(number)
            traveller.expect_whole()
            if number % 4 == 3:
                traveller.touch(traveller.bad[number // 2])
        except HarnessError as error:
            raise HarnessError(f"hop {number}: {error}") from error
        # One agent has the guest, the other has none.
        now = sorted(map(open_files, agents))
        expect_equal("open files of the agents", now, files or now)
        files = now
    traveller.expect_all_bad()
    return f"{len(traveller.bad)} pages"


@test()
def four_hops(world):
    """Four hops, in a different way each."""
    return travel(world, 4)


@contextlib.contextmanager
def without_huge_pages(world):
    """Of the first page that is lost of a transparent huge page with a hole in it, such as emulated poison, Linux 6.12 and
    7.3, with our patches or without, tell nobody until it is touched. What QEMU is not told of is in another test."""
    before = [host.use_huge_pages("never") for host in world.pair.hosts]
    try:
        yield
    finally:
        for host, value in zip(world.pair.hosts, before):
            host.use_huge_pages(value)


@test("full")
def fifty_hops(world):
    """Fifty hops."""
    with without_huge_pages(world):
        return travel(world, 50)


# ---- something is killed on the way ----------------------------------------------------------------

MOMENTS = 20
PAGES = (100, 101, 9000)
SOON = 1 << 19
"""The bytes after which the change to postcopy has happened, from when it was ordered."""


def allowed(victim, phase, stock):
    """What may become of the guest; the stock_… cases hold stock QEMU to the same. It is gone when the source has sent the
    devices' state for postcopy and the destination has not got all of it ("postcopy-active" here, not yet there).
    While the source is sending it ("device") it depends on how far it gets; a source with poison keeps the guest until
    the destination has made the poison. At the end of postcopy, with the last of the memory sent, the source takes
    silence for a failure of the whole, and goes on with the guest: stock QEMU as well as ours, though the destination
    may have it too."""
    if victim == "agent":
        return {"destination"} if phase.poisoned else {"source"}
    if phase.source == "postcopy-active":
        arrived = phase.destination == "postcopy-active"
        lost = {"recovered"} if victim == "connection" and arrived else {"gone"}
        return lost | {"source"} if phase.busy else lost
    if phase.source == "device" and (stock or phase.poisoned):
        return {"source", "gone", "recovered"}
    return {"source"}


class Ordeal:
    """A guest that is to move, and is hindered at random moments. Without poison for stock QEMU."""

    def __init__(self, world, seed, capabilities, stock=False):
        self.world = world
        self.random = random.Random(seed)
        self.stock = stock
        self.capabilities = ("return-path", *capabilities, *(() if stock else ("hwpoison",)))
        self.postcopy = "postcopy-ram" in capabilities
        self.switch_at = None
        self.total = 0
        self.new_guest()

    def new_guest(self):
        """A guest on host a."""
        host, options = self.world.pair.a, {}
        if self.stock:
            options = {"qemu": self.world.settings.stock_qemu, "agent": None}
        self.guest, self.addresses = self.world.poisoned_guest(host, () if self.stock else PAGES, **options)

    def attempt(self):
        """The next migration."""
        forget_last_move(self.guest)
        options = {"qemu": self.guest.qemu, "agent": None} if self.stock else {}
        destination = self.world.destination(self.guest, **options)
        return CutShort(self.world, self.guest, destination, self.capabilities, self.switch_at)

    def moves_freely(self):
        """A migration that nothing hinders; returns the length of its stream."""
        attempt = self.attempt()
        length = attempt.length()
        quit_politely(self.guest)
        self.guest = attempt.destination
        self.expect_whole()
        return length

    def expect_whole(self):
        """The guest runs with its poison and all the rest."""
        expect(self.guest.alive(), "the guest does not run")
        if not self.stock:
            expect_equal("poison set", poison.pages(poison.reported(self.guest)), self.addresses)
        expect_poisoned(self.guest.ask_pages("check-but", PAGES), [])

    def measure(self):
        """Finds out how long the stream is, and where to change to postcopy."""
        length = self.moves_freely()
        if self.postcopy:
            self.switch_at = length // 2
        self.total = self.moves_freely() if self.postcopy else length

    def moment(self):
        """A byte: of the beginning, the whole, or where the guest changes hosts."""
        change = self.switch_at or self.total - SOON
        return self.random.randrange(*self.random.choice(
            ((0, 1 << 14), (0, self.total), (self.switch_at or 0, self.total), (change, change + SOON))))

    def strike(self, victim, byte):
        """Something is killed on the way; returns what became of the guest, or None if it was there before."""
        attempt = self.attempt()
        attempt.start()
        held = attempt.pass_until(byte)
        phase = attempt.phase()
        if held:
            attempt.strike(victim)
        outcome = attempt.outcome()
        # No two streams are of the same length: this one may have been shorter.
        expect(outcome in (allowed(victim, phase, self.stock) if held else {"destination"}), f"{phase}: {outcome}")
        self.follow(attempt, outcome, victim, phase)
        return outcome if held else None

    def follow(self, attempt, outcome, victim, phase):
        """Looks at both ends, and makes ready for the next."""
        left = attempt.destination if outcome == "source" else attempt.source
        if outcome == "source" and phase.source == "postcopy-active":
            left.stop()
        elif outcome == "source" and attempt.destination_has_all():
            # Behind the state of the devices is a description of it that nobody needs: stock QEMU as well as ours does
            # not mind if the stream ends there, and the source has no way to know. libvirt has it wait with -S.
            expect(victim == "connection" and phase.source == "device", f"{phase}: the guest runs twice")
            left.stop()
        elif outcome == "source":
            left.wait_end(120)
        else:
            expect_equal("exit status of the source", quit_politely(left), 0)
        if not self.stock:
            agent = self.world.agent(left.host, restart=victim == "agent" and outcome == "source")
            expect_equal("guests left behind", agent.guests(), [])
        if outcome == "gone":
            self.new_guest()
            return
        if outcome != "source":
            self.guest = attempt.destination
        self.expect_whole()


def hindered(world, victims, capabilities, stock=False):
    """A guest is hindered at twenty random moments, and then moves after all. HWP_SEED=… has the same moments again."""
    seed = int(os.environ.get("HWP_SEED", random.randrange(1 << 32)))
    ordeal = Ordeal(world, seed, capabilities, stock)
    ordeal.measure()
    outcomes = collections.Counter()
    for number, victim in enumerate(itertools.cycle(victims)):
        if outcomes.total() == MOMENTS:
            break
        byte = ordeal.moment()
        try:
            outcome = ordeal.strike(victim, byte)
            outcomes.update([outcome] if outcome else [])
        except HarnessError as error:
            raise HarnessError(f"HWP_SEED={seed}, migration {number}, {victim} struck at byte {byte} of "
                               f"{ordeal.total}: {error}") from error
    ordeal.moves_freely()
    return f"seed {seed}; the guest was at the end: " + ", ".join(
        f"{where} {count}x" for where, count in sorted(outcomes.items()))


@test("full")
def hindered_in_precopy(world):
    """The guest is never lost: it runs on at the source, until all has arrived."""
    return hindered(world, VICTIMS, ())


@test("full")
def hindered_in_postcopy(world):
    """Until the devices' state is sent, the guest runs on at the source. After that a dead destination is a dead guest, a
    lost connection can be recovered, and the agent is not needed any more."""
    return hindered(world, VICTIMS, ("postcopy-ram",))


@test("full")
def stock_hindered_in_precopy(world):
    """Stock QEMU, without poison, for comparison: the same becomes of the guest."""
    return hindered(world, VICTIMS[:2], (), stock=True)


@test("full")
def stock_hindered_in_postcopy(world):
    """And in postcopy."""
    return hindered(world, VICTIMS[:2], ("postcopy-ram",), stock=True)
