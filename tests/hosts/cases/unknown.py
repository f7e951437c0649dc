# SPDX-License-Identifier: GPL-2.0-or-later
"""Poison that QEMU has not been told of. The first to come across it is the migration, which reads all of the guest's
memory.

The kernel tells of a bad page by SIGBUS, which is not queued: of pages that go bad while QEMU does not get round to taking
it, it hears of one.
"""

import signal

from cases.life_after import TIMERS
from cases.precopy import expect_poisoned
from hwhosts import poison
from hwhosts.base import HarnessError
from hwhosts.channel import ChannelClosed
from hwhosts.guest import quit_politely
from hwhosts.migrate import Migration
from hwhosts.runner import TestFailure, expect, expect_equal, test

READERS = {
    "the migration thread": ((), {"zero-page-detection": "legacy"}),
    "the threads of multifd": (("multifd",), {"multifd-channels": 2, "zero-page-detection": "multifd"}),
}
"""Capabilities and parameters by which this thread looks whether a page is zero."""
MANY = range(500, 500 + 20 * 700, 700)


def moved(world, guest, **options):
    """Moves a guest whose QEMU must not mind what it comes across, and returns it."""
    destination = world.destination(guest)
    Migration(guest, destination, **options).run()
    expect_equal("exit status of the source", quit_politely(guest), 0)
    return destination


def hidden(world):
    """A guest with a page that is bad, and QEMU does not know; returns both."""
    guest = world.guest(world.pair.a).wait_ready()
    addresses = guest.ask_pages("gpa", [100])["gpa"]
    poison.hide(guest, addresses)
    expect_equal("poison set", poison.reported(guest), [])
    return guest, addresses


def expect_killed(world, capabilities, parameters):
    """QEMU does not survive a migration with these."""
    guest, _ = hidden(world)
    destination = world.destination(guest)
    try:
        Migration(guest, destination, capabilities, parameters=parameters).run()
        raise TestFailure("nobody touched the page")
    except ChannelClosed:
        expect_equal("exit status", guest.wait_end(), 128 + signal.SIGBUS)
    expect(destination.wait_end() != 0, "the destination ended as if all were well")


@test()
def guard(world):
    """With the capability, QEMU's threads read with a guard. It is what keeps them alive: without the capability they
    read as those of stock QEMU do, and QEMU is killed, and the guest with it."""
    for reader, (capabilities, parameters) in READERS.items():
        try:
            expect_killed(world, ("return-path", *capabilities), parameters)
            guest, addresses = hidden(world)
            guest = moved(world, guest, capabilities=("return-path", "hwpoison", *capabilities), parameters=parameters)
            expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
            expect_poisoned(guest.check(), addresses)
            guest.stop()
        except HarnessError as error:
            raise HarnessError(f"{reader}: {error}") from error


@test()
def at_once(world):
    """Twenty pages go bad for real while QEMU does not look: it hears of one, and finds the others."""
    guest = world.guest(world.pair.a).wait_ready()
    addresses = sorted(guest.ask_pages("gpa", MANY)["gpa"])
    unknown = poison.inject_at_once(guest, addresses)
    known = poison.pages(poison.reported(guest))
    expect_equal("poison set, and what is not in it", sorted(known + unknown), addresses)
    expect_equal("pages that QEMU knows of", len(known), 1)
    guest = moved(world, guest)
    expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
    expect_poisoned(guest.check(), addresses)


@test()
def guest_is_told(world):
    """The guest is told of the page that the migration has found while it still runs at the source, and goes on. Its
    program writes all the while, so that the migration does not get to its end before."""
    pages = [100, 9000]
    guest = world.guest(world.pair.a, extra=TIMERS).wait_ready()
    addresses = guest.ask_pages("gpa", pages)["gpa"]
    expect_equal("early-kill", guest.ask("early-kill")["error"], 0)
    expect_equal("poll-errors", guest.ask("poll-errors 1")["error"], 0)
    unknown = poison.inject_at_once(guest, addresses)
    expect_equal("advisory signals", guest.ask("await-ao 1 30")["ao_signals"], 1)
    known = [page for page, address in zip(pages, addresses) if address not in unknown]
    expect_equal("known to the guest's kernel", guest.ask_pages("known", pages)["known"], known)

    guest.ask_pages("dirty start", pages)
    migration = Migration(guest, world.destination(guest), parameters={"downtime-limit": 1})
    migration.listen()
    migration.start()
    expect_equal("page that QEMU has found", guest.qmp.wait_event("MEMORY_FAILURE", limit=60)["guest-address"], unknown[0])
    expect_equal("advisory signals", guest.ask("await-ao 2 30")["ao_signals"], 2)
    expect_equal("known to the guest's kernel", guest.ask_pages("known", pages)["known"], pages)
    expect_equal("migration", migration.information()["status"], "active")
    expect(guest.ask("dirty stop")["rounds"] > 0, "the guest did not go on")

    guest.qmp.execute("migrate-set-parameters", {"downtime-limit": 2000})
    expect_equal("migration", migration.wait_end()["status"], "completed")
    migration.settle()
    expect_equal("exit status of the source", quit_politely(guest), 0)
    check = migration.destination.check()
    expect_poisoned(check, sorted(addresses), touched=False)
    expect_equal("known", [page["known"] for page in check["sigbus"]], [True, True])
