# SPDX-License-Identifier: GPL-2.0-or-later
"""Errors, deadlines, and the settings that build-aux/setup prints.

Every wait in this package has a deadline and ends on an event. A slow machine can stretch all
deadlines at once: HWP_TIMEOUT_SCALE=3.
"""

import os
import pathlib
import time


class HarnessError(Exception):
    """Something did not go as it must; the text says what, to whoever reads the test's result."""


class Timeout(HarnessError):
    """What was waited for did not come in time."""


class Deadline:
    """A point in time that several waits share."""

    scale = float(os.environ.get("HWP_TIMEOUT_SCALE", "1"))

    def __init__(self, seconds):
        self.seconds = seconds * self.scale
        self.end = time.monotonic() + self.seconds

    def left(self, what):
        """Seconds left; raises Timeout, which names what was waited for, when there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise Timeout(f"{what}: nothing after {self.seconds:.0f} s")
        return left


def deadline(seconds_or_deadline):
    """A Deadline from either a number of seconds or a Deadline."""
    if isinstance(seconds_or_deadline, Deadline):
        return seconds_or_deadline
    return Deadline(seconds_or_deadline)


PACKAGE = pathlib.Path(__file__).resolve().parent.parent
"""The directory tests/hosts."""

FIRMWARE = [argument for directory in ("/usr/share/seabios", "/usr/share/qemu")
            for argument in ("-L", directory)]
"""Where the distribution's packages put the firmware that a QEMU of our own build needs."""


class Settings:
    """Where the programs are: HWP_KERNEL and so on, each checked when it is first asked for. `kernel` is the
    one that hosts and guests run: that of the first base, or another."""

    def __init__(self, kernel=None):
        self.chosen_kernel = kernel

    def path(self, name):
        """The value of HWP_`name`."""
        value = os.environ.get(f"HWP_{name}")
        if not value:
            raise HarnessError(f"HWP_{name} is not set: run this through ./check or ./demo")
        path = pathlib.Path(value)
        if not path.exists():
            raise HarnessError(f"HWP_{name}={value} does not exist: run build-aux/setup")
        return path

    stock_qemu = property(lambda self: self.path("STOCK_QEMU"))
    patched_qemu = property(lambda self: self.path("PATCHED_QEMU"))
    kernel = property(lambda self: self.chosen_kernel or self.path("KERNEL"))
    debian_kernel = property(lambda self: self.path("DEBIAN_KERNEL"))
    build = property(lambda self: self.path("BUILD"))

    def kernel_of(self, base, name="KERNEL"):
        """The kernel of a base such as "7.3": ours, or DEBIAN_KERNEL."""
        return self.path(f"{name}_{base.replace('.', '_')}")

    def program(self, name):
        """A program of our own build directory, such as daemon/hwpoisond."""
        path = self.build / name
        if not path.exists():
            raise HarnessError(f"{path} does not exist: run build-aux/setup build")
        return path

    def guest_program(self, name):
        """One of the static programs of tests/hosts/guest."""
        return self.program(f"tests/hosts/guest/{name}")

    @property
    def cache(self):
        """Our directory below the user's cache directory."""
        root = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
        path = pathlib.Path(root) / "hwpoisond"
        path.mkdir(parents=True, exist_ok=True)
        return path
