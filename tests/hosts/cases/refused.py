# SPDX-License-Identifier: GPL-2.0-or-later
"""Migrations that must be refused: early, with a reason, and with the guest running where it was."""

from cases.precopy import expect_poisoned
from hwhosts import poison
from hwhosts.migrate import Migration
from hwhosts.qmp import QmpError
from hwhosts.runner import TestFailure, expect, expect_equal, test

STOCK_REFUSAL = "Can't migrate this vm with hardware poisoned memory, please reboot the vm"


def expect_untouched(guest, addresses, pages):
    """The guest runs, has its poison set, and all its other pages."""
    expect(guest.alive(), "the guest does not run on the source")
    expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
    expect_poisoned(guest.ask_pages("check-but", pages), [])


def expect_refusal(start, *words):
    """`start` raises QmpError with these words."""
    try:
        start()
    except QmpError as error:
        for word in words:
            expect(word in str(error), f"'{word}' is not in '{error}'")
        return
    raise TestFailure("was not refused")


@test("quick")
def capability_off(world):
    """As stock QEMU does it, with a hint."""
    guest, addresses = world.poisoned_guest(world.pair.a)
    move = Migration(guest, world.destination(guest), capabilities=("return-path",))
    move.listen()
    expect_refusal(move.start, STOCK_REFUSAL)
    expect_untouched(guest, addresses, [100])


@test()
def without_return_path(world):
    """On a socket a late failure could lose the guest."""
    guest = world.guest(world.pair.a).wait_ready()
    move = Migration(guest, world.destination(guest), capabilities=("hwpoison",))
    move.listen()
    expect_refusal(move.start, "return-path")
    expect(guest.alive(), "the guest does not run on the source")


@test()
def stock_refuses(world):
    """Stock QEMU, for comparison: what this project is about."""
    stock = world.settings.stock_qemu
    guest, _ = world.poisoned_guest(world.pair.a, qemu=stock, agent=None)
    move = Migration(guest, world.destination(guest, qemu=stock, agent=None),
                     capabilities=("return-path",))
    move.listen()
    expect_refusal(move.start, STOCK_REFUSAL)
    expect(guest.alive(), "the guest does not run on the source")


@test("quick")
def stock_destination(world):
    """A destination without the feature does not know the early section."""
    guest, addresses = world.poisoned_guest(world.pair.a)
    destination = world.destination(guest, qemu=world.settings.stock_qemu, agent=None)
    move = Migration(guest, destination)
    move.listen()
    move.start()
    move.expect_failure()
    expect(destination.wait_end() != 0, "the destination ended as if all were well")
    expect("ram-hwpoison-early" in destination.qemu_log(), destination.qemu_log()[-300:])
    expect_untouched(guest, addresses, [100])


def refused_in_setup(world, **options):
    """The destination cannot poison: the early section fails, no RAM is loaded."""
    guest, addresses = world.poisoned_guest(world.pair.a)
    destination = world.destination(guest, **options)
    move = Migration(guest, destination)
    move.listen()
    move.start()
    reason = move.expect_failure()
    expect(destination.wait_end() != 0, "the destination ended as if all were well")
    expect("ram-hwpoison-early" in destination.qemu_log(), destination.qemu_log()[-300:])
    expect_untouched(guest, addresses, [100])
    return reason


@test("quick")
def no_agent(world):
    """No agent answers on the destination."""
    refused_in_setup(world, agent="/run/nobody.sock")


@test()
def no_agent_object(world):
    """The destination has nothing that could poison."""
    refused_in_setup(world, agent=None)
