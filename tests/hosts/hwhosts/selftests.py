# SPDX-License-Identifier: GPL-2.0-or-later
"""Running the kernel's selftests: in a virtual host, or on a kernel by itself.

They lie beside the kernel that they were built with; see linux_compile_tests in build-aux/lib/linux.sh.
"""

import pathlib

from . import ktap, logrules, pfnmap
from .base import HarnessError
from .host import ConsoleMachine

LIMIT = 300
"""Seconds for a program: the slowest take a minute on an idle machine."""

ARGUMENTS = {"mm/pagemap-poison": ["real"], "mm/uffd-poison-log": ["real"]}
"""For the programs that do all of their work only so."""

# Swap, for what is paged out, on a loop device: the hosts have no disk. Control groups are asked to do it.
_PREPARE = """
mount -t cgroup2 cgroup2 /sys/fs/cgroup
truncate -s 256M /tmp/swap
device=$(losetup -f --show /tmp/swap)
mkswap "$device" >/dev/null
swapon "$device"
"""

_NO_HUGE_PAGES = 98
"""The status of _RUN, if the one before has left so little memory in one piece."""

# A clean start for each, whatever the one before has left.
_RUN = f"""
for try in 1 2 3 4 5; do
    echo 3 >/proc/sys/vm/drop_caches
    echo 1 >/proc/sys/vm/compact_memory
    echo "$1" >/proc/sys/vm/nr_hugepages
    [ "$(cat /proc/sys/vm/nr_hugepages)" = "$1" ] && break
done
[ "$(cat /proc/sys/vm/nr_hugepages)" = "$1" ] || exit {_NO_HUGE_PAGES}
shift
directory=$(mktemp -d)
mount -t tmpfs tmpfs "$directory"
cd "$directory"
timeout -k 5 "$@" 2>&1
status=$?
cd /
umount -l "$directory"
exit $status
"""


def programs(kernel):
    """The selftests that came with this kernel: paths by name, such as "mm/cow"."""
    directory = pathlib.Path(kernel).parent / "selftests"
    return {str(path.relative_to(directory)): path
            for path in sorted(directory.rglob("*")) if path.is_file()}


def host(world, kernel, limit=120):
    """A host for them: with swap, and with the card that has huge leaves."""
    def prepare(new):
        pfnmap.bind(new)
        new.shell(_PREPARE)
        (new.shared / "selftest").write_text(_RUN)
    return world.lone_host(pathlib.Path(kernel), pfnmap.HARDWARE, prepare, limit)


def run(machine, name, path, limit=LIMIT, huge_pages=128):
    """Runs one in a host; returns its Report."""
    try:
        result = machine.run("/bin/sh", "/shared/selftest", huge_pages, limit, path,
                             *ARGUMENTS.get(name, ()), limit=limit + 60, check=False)
    except HarnessError as error:
        found = logrules.offences(machine.serial_text())
        raise HarnessError(f"{name}: {error}: {'; '.join(found[:3])}") from error
    if result.status == _NO_HUGE_PAGES:
        raise HarnessError(f"{name}: the host cannot make {huge_pages} huge pages")
    return ktap.report(result.stdout, result.status)


_ALONE = """#!/bin/busybox sh
b=/bin/busybox
$b mkdir -p /proc /sys /tmp
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs devtmpfs /dev
$b mount -t tmpfs tmpfs /tmp
$b mount -t debugfs debugfs /sys/kernel/debug
echo always >/sys/kernel/mm/transparent_hugepage/enabled
cd /tmp
run() {{
    echo {pages} >/proc/sys/vm/nr_hugepages
    echo "@begin"
    $b timeout -k 5 {limit} "$@" 2>&1
    echo "@end $?"
}}
{lines}
$b poweroff -f
"""


def run_alone(world, machine_name, kernel, tests, limit=60):
    """Runs `tests` (as of programs(), linked statically) on a kernel that has nothing else; returns their
    Reports by name."""
    lines = [" ".join(["run", f"/selftests/{name}", *ARGUMENTS.get(name, ())]) for name in tests]
    init = world.directory / f"{machine_name}.init"
    init.write_text(_ALONE.format(pages=128, limit=limit, lines="\n".join(lines)))
    files = [("bin/busybox", pathlib.Path("/bin/busybox").read_bytes())]
    files += [(f"selftests/{name}", path.read_bytes()) for name, path in tests.items()]
    machine = ConsoleMachine(world.settings, machine_name, world.directory)
    machine.start(kernel, init, files=files)
    try:
        text = machine.wait_off(90 + limit * len(tests)).replace("\r", "")
    finally:
        machine.stop()
    parts = text.split("@begin\n")[1:]
    if len(parts) != len(tests) or any("@end " not in part for part in parts):
        raise HarnessError(f"{machine_name} ended after {len(parts)} of {len(tests)} selftests; "
                           f"its last words: {text[-400:]}")
    reports = {}
    for name, part in zip(tests, parts):
        output, _, status = part.partition("@end ")
        reports[name] = ktap.report(output, int(status.split()[0]))
    return reports
