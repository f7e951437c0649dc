# SPDX-License-Identifier: GPL-2.0-or-later
"""Runs the tests of ../cases: what a test is, what it is given, and what is looked at after it.

A test is a function with the decorator @test, which gets a World: two hosts that are booted when the
first test asks for them and kept for the next as long as all goes well, or one by itself. After each test
its guests are stopped, and every kernel log (hosts and guests) is searched for what must not be in it.
"""

import dataclasses
import importlib
import os
import pathlib
import pkgutil
import shutil
import sys
import tempfile
import time
import traceback

from . import poison
from .agent import Agent
from .base import HarnessError, Settings
from .guest import Guest, quit_politely
from .host import PLAIN, Hardware, Host, Pair
from .migrate import Migration

TESTS = []
DEPTHS = ("quick", "normal", "full")


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


class TestFailure(HarnessError):
    """What a test found to be wrong."""


@dataclasses.dataclass(frozen=True)
class Test:
    """A test: its function may return a remark, which is printed with the result. `base` is that of the
    kernel of its hosts; None is the usual one. `hardware` is that of its pair of hosts."""

    name: str
    depth: str
    function: object
    base: str | None = None
    hardware: Hardware = PLAIN


def test(depth="normal", also_on=()):
    """Makes a function a test, which is run at this depth and above; and once more, with the kernel in its
    name, for each of the bases `also_on`."""
    def register(function):
        module = function.__module__.rsplit(".", 1)[-1]
        name = f"{module}/{function.__name__}".replace("_", "-")
        TESTS.append(Test(name, depth, function))
        for base in also_on:
            TESTS.append(Test(f"{name}-{base}", depth, function, base))
        return function
    return register


def expect(condition, message):
    """Fails the test unless `condition` is true."""
    if not condition:
        raise TestFailure(message)


def expect_equal(what, got, wanted):
    """Fails the test unless the two are equal."""
    expect(got == wanted, f"{what}: got {got!r:.400}, wanted {wanted!r:.400}")


class World:
    """What a test works with."""

    def __init__(self, settings, directory):
        self.settings = settings
        self.directory = directory
        self._hardware = PLAIN
        self._pair = None
        self._lone = None
        self._boots = 0
        self._guests = []
        self._agents = {}
        self._commands = []

    def use_base(self, base):
        """From here on, hosts run the kernel of this base."""
        kernel = self.settings.kernel_of(base) if base else None
        if kernel != self.settings.chosen_kernel:
            self.abandon()
            self.settings = Settings(kernel)

    def use_hardware(self, hardware):
        """From here on, pairs of hosts are made of this."""
        if hardware != self._hardware:
            self.abandon()
            self._hardware = hardware

    def _boot_directory(self):
        self._boots += 1
        return self.directory / f"boot-{self._boots}"

    @property
    def pair(self):
        """The two hosts, booted."""
        if self._pair is None:
            self.abandon()
            self._pair = Pair(self.settings, self._boot_directory(), self._hardware)
            self._pair.boot()
        return self._pair

    def lone_host(self, kernel, hardware, prepare, limit=120):
        """A host by itself with this kernel, booted, and kept like the pair; new ones are prepared by
        prepare(host)."""
        if self._lone is None or self._lone.settings.kernel != kernel:
            self.abandon()
            self._lone = Host(Settings(kernel), "lone", self._boot_directory(), hardware=hardware)
            self._lone.boot(limit)
            prepare(self._lone)
        return self._lone

    @property
    def _hosts(self):
        pair = self._pair.hosts if self._pair else ()
        return (*pair, self._lone) if self._lone else pair

    def agent(self, host, restart=False):
        """The agent of a host, running."""
        agent = self._agents.setdefault(host.name, Agent(host))
        if restart:
            agent.kill()
        if not agent.process or not agent.process.running:
            agent.start()
        return agent

    def guest(self, host, qemu=None, agent=True, **options):
        """A QEMU in a host, started; `agent` is True (that of the host), None, or a socket's path."""
        return self.prepared_guest(host, qemu, agent, **options).start()

    def prepared_guest(self, host, qemu=None, agent=True, **options):
        """The same, not started yet."""
        path = self.agent(host).socket if agent is True else agent
        guest = Guest(host, qemu or self.settings.patched_qemu, agent=path, **options)
        self._guests.append(guest)
        return guest

    def destination(self, source, **options):
        """A QEMU in the other host that waits for this guest."""
        options.setdefault("extra", source.extra)
        return self.guest(self.pair.other(source.host), name=source.name, incoming=True, **options)

    def poisoned_guest(self, host, pages=(100,), **options):
        """A guest with these pages of its pattern poisoned; returns it and their addresses."""
        guest = self.guest(host, **options).wait_ready()
        addresses = guest.ask_pages("gpa", pages)["gpa"]
        poison.inject(guest, addresses)
        return guest, sorted(addresses)

    def hop(self, source, destination_options=None, **options):
        """Moves a guest to the other host; returns the guest there and `query-migrate`. QEMU ends on
        the source: as long as it lives, the guest's name is taken there."""
        destination = self.destination(source, **(destination_options or {}))
        information = Migration(source, destination, **options).run()
        quit_politely(source)
        return destination, information

    def spawn(self, host, *arguments):
        """A command in a host that is ended with the test."""
        command = host.spawn(*arguments)
        self._commands.append(command)
        return command

    def _offences(self):
        found = []
        for guest in self._guests:
            found += guest.serial_offences()
            if guest.process and guest.process.running and guest.status() == "running":
                found += guest.new_offences()
        for host in self._hosts:
            found += host.new_offences()
        return found

    def _stop_guests(self):
        for guest in self._guests:
            guest.stop()
            guest.host.run("rm", "-f", f"/shared/{guest.name}.serial.log")
        for command in self._commands:
            if command.running:
                command.kill()
        self._guests, self._commands = [], []

    def finish(self):
        """After a test that has passed: stops its guests; returns the offending log lines."""
        found = self._offences()
        self._stop_guests()
        return found + self._offences()

    def emulator_crashed(self):
        """Whether the machine below a host has crashed; see host.py."""
        return any(host.emulator_crashed() for host in self._hosts)

    def abandon(self):
        """Ends everything; the next test boots anew."""
        for host in self._hosts:
            host.stop()
        self._pair = self._lone = None
        self._guests, self._commands = [], []
        self._agents = {}


def load():
    """Imports all of ../cases; returns the tests."""
    package = importlib.import_module("cases")
    for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda module: module.name):
        importlib.import_module(f"cases.{module.name}")
    return TESTS


def select(names, depth):
    """The tests with one of these names (or a name that starts so), or those of a depth."""
    tests = load()
    if names:
        unknown = [name for name in names if not any(t.name.startswith(name) for t in tests)]
        if unknown:
            raise HarnessError(f"no test of the name {', '.join(unknown)}; --list lists them")
        return [t for t in tests if any(t.name.startswith(name) for name in names)]
    return [t for t in tests if DEPTHS.index(t.depth) <= DEPTHS.index(depth)]


def _one(world, one, again=True):
    """Runs one test; returns None or the reason of its failure, and its remark. A test that is hit by a crash
    of the software emulation, and so says nothing, is run once more."""
    try:
        world.use_base(one.base)
        world.use_hardware(one.hardware)
        remark = one.function(world)
        found = world.finish()
        return "kernel log: " + "; ".join(found[:5]) if found else None, remark
    except Skip:
        world.finish()
        raise
    except Exception as error:  # whatever it is, it is the test's result
        crashed = world.emulator_crashed()
        world.abandon()
        if crashed and again:
            print(f"{one.name}: the software emulation crashed; again", file=sys.stderr)
            return _one(world, one, again=False)
        place = traceback.extract_tb(error.__traceback__)
        frame = next((f for f in reversed(place) if "/cases/" in f.filename), place[-1])
        where = f"{pathlib.Path(frame.filename).name}:{frame.lineno}"
        kind = "" if isinstance(error, HarnessError) else f"{type(error).__name__}: "
        return f"{kind}{error} ({where})", None


def run(tests):
    """Runs tests, prints a line for each; returns how many have failed."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="hwpoisond-hosts-"))
    world = World(Settings(), directory)
    failed = 0
    try:
        # Those of the same hosts side by side
        for one in sorted(tests, key=lambda one: (one.base or "", one.hardware.memory)):
            start = time.monotonic()
            try:
                reason, remark = _one(world, one)
            except Skip as skip:
                print(f"skip {one.name}: {skip}", flush=True)
                continue
            seconds = time.monotonic() - start
            if reason:
                failed += 1
                print(f"not ok {one.name}: {' '.join(reason.split())}", flush=True)
            else:
                print(f"ok {one.name} ({seconds:.1f} s{'; ' + remark if remark else ''})", flush=True)
    finally:
        world.abandon()
        if failed and os.listdir(directory):
            print(f"logs of the hosts: {directory}", file=sys.stderr)
        else:
            shutil.rmtree(directory, ignore_errors=True)
    return failed
