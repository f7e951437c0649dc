# SPDX-License-Identifier: GPL-2.0-or-later
"""The agent is killed, or stops answering, at six points of a migration; and one that lies.

Each time but the last the migration fails, the guest goes on on the source, nothing is left behind on
either host, and with the agent back the guest then moves after all. At the end, memory is poisoned, and
the guest arrives.
"""

import signal

from cases.precopy import expect_poisoned
from cases.refused import expect_untouched
from hwhosts import base, poison
from hwhosts.guest import quit_politely
from hwhosts.migrate import Migration
from hwhosts.runner import expect, expect_equal, test

TAP = "/run/tap.sock"
SLOW = 2 << 20
FAST = 1 << 30


def start_tap(world, host, trouble, kind, direction):
    """agent-tap in a host, ready."""
    agent = world.agent(host)
    program = base.PACKAGE / "agent-tap"
    host.run("rm", "-f", TAP)
    tap = world.spawn(host, "python3", program, TAP, agent.socket, agent.process.pid(),
                      trouble if trouble == "lie" else int(trouble),
                      kind, direction)
    tap.wait_notified("READY=1", 60)
    return tap


def destination_gone(destination):
    """The destination's QEMU has ended by itself, with an error."""
    expect(destination.wait_end() != 0, "the destination ended as if all were well")


def agent_back(world, trouble):
    """The agent of b, after it. One that was only stopped still is the same."""
    if trouble == signal.SIGSTOP:
        world.agent(world.pair.b).resume()
    return world.agent(world.pair.b, restart=trouble == signal.SIGKILL)


def moves_after_all(world, guest, addresses, trouble):
    """With the agent back, everything works."""
    agent = agent_back(world, trouble)
    expect_equal("guests left behind in the agent", agent.guests(), [])
    guest, _ = world.hop(guest)
    expect_equal("guests of the agent", agent.guests(), [guest.name])
    expect_equal("poison set after all", poison.pages(poison.reported(guest)), addresses)
    expect_poisoned(guest.check(), addresses)


def fails_at(world, trouble, kind, direction):
    """There is trouble with the agent of b when a message passes; see agent-tap."""
    pages = [100, 101, 9000]
    guest, addresses = world.poisoned_guest(world.pair.a, pages)
    tap = start_tap(world, world.pair.b, trouble, kind, direction)
    destination = world.destination(guest, agent=f"{TAP},timeout-ms=2000")
    move = Migration(guest, destination)
    move.listen()
    move.start()
    move.expect_failure()
    expect_equal("tap", tap.read_line(20), "hit")
    destination_gone(destination)
    expect_untouched(guest, addresses, pages)
    moves_after_all(world, guest, addresses, trouble)


def fails_while_ram_is_sent(world, number):
    """The agent of b gets a signal between set-up and switchover."""
    pages = [100, 101, 9000]
    guest, addresses = world.poisoned_guest(world.pair.a, pages)
    agent = world.agent(world.pair.b)
    destination = world.destination(guest, agent=f"{agent.socket},timeout-ms=2000")
    move = Migration(guest, destination, parameters={"max-bandwidth": SLOW})
    move.listen()
    move.start()
    move.wait_status("active")
    destination.qmp.wait_event("MIGRATION", lambda data: data["status"] == "active")
    agent.process.kill(number)
    guest.qmp.execute("migrate-set-parameters", {"max-bandwidth": FAST})
    move.expect_failure()
    destination_gone(destination)
    guest.qmp.execute("migrate-set-parameters", {"max-bandwidth": 128 << 20})
    expect_untouched(guest, addresses, pages)
    moves_after_all(world, guest, addresses, number)


@test()
def killed_in_setup(world):
    """Killed when QEMU asks in set-up."""
    fails_at(world, signal.SIGKILL, "poison-begin", "request")


@test()
def killed_after_setup(world):
    """Killed before its answer in set-up."""
    fails_at(world, signal.SIGKILL, "poison-begin", "answer")


@test("quick")
def killed_while_ram_is_sent(world):
    """Killed between set-up and switchover."""
    fails_while_ram_is_sent(world, signal.SIGKILL)


@test("quick")
def killed_before_poisoning(world):
    """Killed at switchover, when it is to poison."""
    fails_at(world, signal.SIGKILL, "poison", "request")


@test()
def killed_after_poisoning(world):
    """Killed at switchover, when it has poisoned."""
    fails_at(world, signal.SIGKILL, "poison", "answer")


@test()
def stopped_in_setup(world):
    """Silent when QEMU asks in set-up."""
    fails_at(world, signal.SIGSTOP, "poison-begin", "request")


@test()
def stopped_after_setup(world):
    """Silent before its answer in set-up."""
    fails_at(world, signal.SIGSTOP, "poison-begin", "answer")


@test()
def stopped_while_ram_is_sent(world):
    """Silent from some time between set-up and switchover."""
    fails_while_ram_is_sent(world, signal.SIGSTOP)


@test()
def stopped_before_poisoning(world):
    """Silent at switchover, when it is to poison."""
    fails_at(world, signal.SIGSTOP, "poison", "request")


@test()
def stopped_after_poisoning(world):
    """Silent at switchover, when it has poisoned."""
    fails_at(world, signal.SIGSTOP, "poison", "answer")


def taken_at_end(world, trouble):
    """There is trouble with the agent of b when QEMU says that it is done."""
    guest, addresses = world.poisoned_guest(world.pair.a, [100, 101, 9000])
    tap = start_tap(world, world.pair.b, trouble, "poison-end", "request")
    destination = world.destination(guest, agent=f"{TAP},timeout-ms=2000")
    Migration(guest, destination).run()
    expect_equal("tap", tap.read_line(20), "hit")
    expect_poisoned(destination.check(), addresses)
    expect_equal("exit status", quit_politely(destination), 0)
    agent_back(world, trouble)


@test()
def killed_at_end(world):
    """Killed when it is told that the guest has its poison."""
    taken_at_end(world, signal.SIGKILL)


@test()
def stopped_at_end(world):
    """Silent when it is told that the guest has its poison."""
    taken_at_end(world, signal.SIGSTOP)


@test()
def lies(world):
    """It says that it has poisoned, and has not: QEMU looks for itself."""
    fails_at(world, "lie", "poison", "request")


@test()
def restarted_under_a_guest(world):
    """A guest runs on without its agent, and QEMU finds the new one by itself."""
    guest, addresses = world.poisoned_guest(world.pair.a, [100])
    world.agent(world.pair.b).kill()
    destination = world.destination(guest)
    world.agent(world.pair.b, restart=True)
    Migration(guest, destination).run()
    world.agent(world.pair.b, restart=True)
    expect_poisoned(destination.check(), addresses)
    expect_equal("exit status", quit_politely(destination), 0)
