# SPDX-License-Identifier: GPL-2.0-or-later
"""The other ways that a stream can take: several sockets, compressed, a Unix socket, a file."""

from cases.precopy import expect_poisoned
from hwhosts import poison
from hwhosts.migrate import Migration
from hwhosts.runner import Skip, expect_equal, test

PAGES = [0, 100, 101, 102, 5000, 9000, 16383]


def arrived(guest, addresses):
    """The guest has arrived with its poison set."""
    expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
    expect_poisoned(guest.check(), addresses)


def multifd(world, compression):
    """Several sockets; `compression` of what goes over them."""
    guest, addresses = world.poisoned_guest(world.pair.a, PAGES)
    known = guest.qmp.execute("query-qmp-schema")
    methods = {value for entry in known for value in entry.get("values", [])}
    if compression not in methods:
        raise Skip(f"this QEMU is built without {compression}")
    guest, _ = world.hop(guest, capabilities=("hwpoison", "return-path", "multifd"),
                         parameters={"multifd-channels": 2, "multifd-compression": compression})
    arrived(guest, addresses)


@test()
def multifd_plain(world):
    """multifd without compression."""
    multifd(world, "none")


@test()
def multifd_zlib(world):
    """multifd with zlib."""
    multifd(world, "zlib")


@test()
def multifd_zstd(world):
    """multifd with zstd."""
    multifd(world, "zstd")


@test()
def unix_socket(world):
    """Within one host, over a Unix socket."""
    guest, addresses = world.poisoned_guest(world.pair.a, PAGES)
    there = world.guest(world.pair.a, name="vm2", incoming=True)
    Migration(guest, there, uri="unix:/run/guests/move").run()
    arrived(there, addresses)


def file(world, *capabilities, parameters=None):
    """Saved to a file on a, and restored on a after the guest has ended there."""
    guest, addresses = world.poisoned_guest(world.pair.a, PAGES)
    capabilities = ("hwpoison", *capabilities)
    world.pair.a.run("rm", "-f", "/root/saved")
    save = Migration(guest, None, capabilities, uri="file:/root/saved", parameters=parameters)
    save.start()
    expect_equal("end of saving", save.wait_end()["status"], "completed")
    guest.stop()
    restored = world.guest(world.pair.a, name="vm2", incoming=True)
    Migration(None, restored, capabilities, uri="file:/root/saved", parameters=parameters).listen()
    restored.qmp.wait_event("MIGRATION", lambda data: data["status"] == "completed", 60)
    restored.wait_running()
    arrived(restored, addresses)


@test()
def plain_file(world):
    """A file that is written as a stream."""
    file(world)


@test()
def mapped_ram(world):
    """A file with a place for each page."""
    file(world, "mapped-ram")


@test()
def mapped_ram_multifd(world):
    """The same, written and read by several threads."""
    file(world, "mapped-ram", "multifd", parameters={"multifd-channels": 2})
