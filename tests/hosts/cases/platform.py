# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernels are what docs/platform.md says, and what hwpoisond relies on.

Each kernel boots with nothing but the program of tests/kernel/platform, which injects real memory errors there,
too. After a change that is meant, HWP_UPDATE_PLATFORM=1 writes what was seen to the document.
"""

import os
import subprocess

from hwhosts import logrules
from hwhosts.base import PACKAGE
from hwhosts.host import ConsoleMachine
from hwhosts.runner import expect, test

TABLE = PACKAGE.parent / "kernel/platform/table"


def run_alone(world, name, kernel, options):
    """What the program, and then the kernel's log, say in a machine with this kernel."""
    machine = ConsoleMachine(world.settings, name, world.directory)
    machine.start(kernel, world.settings.program("tests/kernel/platform/platform"),
                  ("--init", "--json", "--real", *options))
    try:
        text = machine.wait_off(300).replace("\r", "")
    finally:
        machine.stop()
    results, _, log = text.partition("\nkernel log:\n")
    expect("\nend of the kernel log\n" in log, f"{name} ended early; its last words: {text[-300:]}")
    return results, log


def expect_as_known(world, column, kernel, *options):
    """Runs all of it on a kernel: nothing may be bad, or other than the document says, or in the log. Returns
    how much could be seen."""
    results, log = run_alone(world, "platform-" + column.replace(" ", "-"), kernel, options)
    bad = [line for line in results.splitlines() if '"verdict":"bad"' in line]
    expect(not bad, f"{column}: {bad}")
    offences = logrules.offences(log)
    expect(not offences, f"kernel log of {column}: {offences[:5]}")
    todo = "--update" if os.environ.get("HWP_UPDATE_PLATFORM") else "--compare"
    table = subprocess.run([TABLE, todo, column], input=results, text=True, check=False,
                           stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    expect(table.returncode == 0, table.stdout)
    return f"{results.count('verdict')} rows, {results.count('skipped')} not run"


@test()
def stock_6_12(world):
    """Debian's own kernel."""
    return expect_as_known(world, "stock 6.12", world.settings.kernel_of("6.12", "DEBIAN_KERNEL"))


@test()
def stock_7_3(world):
    """Debian's own kernel, of its backports."""
    return expect_as_known(world, "stock 7.3", world.settings.kernel_of("7.3", "DEBIAN_KERNEL"))


@test()
def patched_6_12(world):
    """Debian's source with our series."""
    return expect_as_known(world, "patched 6.12", world.settings.kernel_of("6.12"), "--patched")


@test()
def patched_7_3(world):
    """The same of the newer base."""
    return expect_as_known(world, "patched 7.3", world.settings.kernel_of("7.3"), "--patched")


@test("full")
def debug_6_12(world):
    """With lock and memory checkers, which must not find anything."""
    return expect_as_known(world, "patched 6.12", world.settings.kernel_of("6.12", "DEBUG_KERNEL"), "--patched")


@test("full")
def debug_7_3(world):
    """The same of the newer base."""
    return expect_as_known(world, "patched 7.3", world.settings.kernel_of("7.3", "DEBUG_KERNEL"), "--patched")
