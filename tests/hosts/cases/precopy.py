# SPDX-License-Identifier: GPL-2.0-or-later
"""The main way: a guest with really poisoned pages moves from one host to the other over TCP."""

from hwhosts import logrules, poison
from hwhosts.runner import expect, expect_equal, test

SCATTERED = range(7, 7 + 16 * 1000, 16)


def expect_poisoned(check, addresses, touched=True):
    """What the guest found is exactly these pages; with `touched`, in the memory itself."""
    bad = check["sigbus"]
    expect_equal("pages with SIGBUS", sorted(page["gpa"] for page in bad), addresses)
    expect_equal("si_code", {page["si_code"] for page in bad} - {"BUS_MCEERR_AR"}, set())
    expect_equal("pages with wrong contents", check["wrong"], [])
    expect_equal("SIGBUS elsewhere", check["other_sigbus"], 0)
    if touched:
        expect_equal("pages that the guest's kernel knew", [p for p in bad if p["known"]], [])


def carry(world, pages):
    """One hop from a to b with these pages poisoned."""
    guest, addresses = world.poisoned_guest(world.pair.a, pages)
    at_source = poison.reported(guest)
    expect_equal("poison set of the source", poison.pages(at_source), addresses)
    expect_equal("origins at the source", poison.origins(at_source), {"host"})
    before = logrules.count_mce_lines(world.pair.b.kernel_log())
    guest, _ = world.hop(guest)
    at_destination = poison.reported(guest)
    expect_equal("poison set of the destination", poison.ranges(at_destination),
                 poison.ranges(at_source))
    expect_equal("origins at the destination", poison.origins(at_destination), {"migrated"})
    expect_equal("pages in the inventory of b's agent",
                 world.agent(world.pair.b).pages_of(guest.name), addresses)
    expect_equal("bytes of poison that the destination told of",
                 [event["total-length"] for event in guest.qmp.take_events("MEMORY_POISON_RESTORED")],
                 [len(addresses) * poison.PAGE])
    guest.qmp.take_events("MEMORY_FAILURE")
    check = guest.check()
    expect_equal("pages checked", check["checked_pages"], 16384)
    expect_poisoned(check, addresses)
    expect_equal("addresses of the machine checks put into the guest",
                 sorted(event["guest-address"] for event in guest.qmp.take_events("MEMORY_FAILURE")), addresses)
    expect_equal("MCE lines in b's log",
                 logrules.count_mce_lines(world.pair.b.kernel_log()) - before, 0)


@test("quick", also_on=("7.3",))
def one_page(world):
    """One page."""
    carry(world, [100])


@test()
def thousand_pages(world):
    """1000 pages, scattered."""
    carry(world, SCATTERED)


@test()
def runs_and_edges(world):
    """The first and the last page, and runs of neighbours."""
    carry(world, [0, 1, 2, *range(511, 520), 4000, 4002, 16383])


@test("quick")
def no_poison(world):
    """Without poison the capability changes nothing that can be seen."""
    guest = world.guest(world.pair.a).wait_ready()
    guest, _ = world.hop(guest)
    expect_equal("poison set", poison.reported(guest), [])
    expect_poisoned(guest.check(), [])


@test("quick")
def second_hop(world):
    """The set goes on from b to a though the guest never touched it."""
    pages = [100, 101, 9000]
    guest, addresses = world.poisoned_guest(world.pair.a, pages)
    first = poison.reported(guest)
    guest, _ = world.hop(guest)
    expect_poisoned(guest.ask_pages("check-but", pages), [])
    guest, _ = world.hop(guest)
    expect_equal("poison set after two hops", poison.ranges(poison.reported(guest)),
                 poison.ranges(first))
    expect_poisoned(guest.check(), addresses)


@test("quick")
def reset_heals(world):
    """A reset on b heals the pages, and then a migration carries none."""
    guest, _ = world.poisoned_guest(world.pair.a, [100, 101, 9000])
    guest, _ = world.hop(guest)
    guest.reset()
    expect_equal("poison set after the reset", poison.reported(guest), [])
    expect_poisoned(guest.check(), [])
    guest, _ = world.hop(guest)
    expect_equal("poison set after the next hop", poison.reported(guest), [])
    expect_poisoned(guest.check(), [])


@test()
def busy_guest(world):
    """The guest rewrites its memory all the while."""
    pages = [100, 101, 9000]
    guest, addresses = world.poisoned_guest(world.pair.a, pages)
    guest.ask_pages("dirty start", pages)
    guest, _ = world.hop(guest, parameters={"downtime-limit": 2000})
    expect(guest.ask("dirty stop")["rounds"] > 0, "the guest rewrote nothing")
    expect_poisoned(guest.check(), addresses)


@test()
def told_guest(world):
    """The guest's kernel knows of the page before the move: it tells the program on both hosts."""
    guest = world.guest(world.pair.a).wait_ready()
    expect_equal("early-kill", guest.ask("early-kill")["error"], 0)
    addresses = guest.ask_pages("gpa", [100])["gpa"]
    poison.inject(guest, addresses)
    expect_equal("poll-errors", guest.ask("poll-errors 1")["error"], 0)
    expect_equal("advisory signals", guest.ask("await-ao 1 30")["ao_signals"], 1)
    expect_equal("known to the guest's kernel", guest.ask("known 100")["known"], [100])
    guest, _ = world.hop(guest)
    check = guest.check()
    expect_poisoned(check, addresses, touched=False)
    expect_equal("known", [page["known"] for page in check["sigbus"]], [True])
