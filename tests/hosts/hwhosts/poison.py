# SPDX-License-Identifier: GPL-2.0-or-later
"""Real poison in a guest's memory, and the poison set that QEMU reports.

A page is poisoned as memory_failure() does it for a DIMM: the guest-physical address, through QEMU's
`gpa2hpa`, to the host's page frame, and that into the kernel's hwpoison injector. QEMU hears of it by
SIGBUS and puts a machine check into the guest. The signal is not queued by the kernel: two at once
become one. So the pages are poisoned one after another, each when QEMU has told of the one before.
"""

import re
import signal

from .base import HarnessError, deadline

INJECTOR = "/sys/kernel/debug/hwpoison/corrupt-pfn"
PAGE = 4096
_INJECT = f"while read frame; do echo $frame >{INJECTOR} || exit 1; done"


def page_frames(guest, addresses):
    """The host's page frame numbers of guest-physical addresses."""
    # All requests at once: one round trip for a thousand pages.
    requests = [guest.qmp.send("human-monitor-command", {"command-line": f"gpa2hpa 0x{address:x}"})
                for address in addresses]
    frames = []
    for address, request in zip(addresses, requests):
        text = guest.qmp.answer(request)
        match = re.search(r"is (0x[0-9a-f]+)", text)
        if not match:
            raise HarnessError(f"gpa2hpa 0x{address:x}: {text.strip()}")
        frames.append(int(match[1], 16) // PAGE)
    return frames


def inject(guest, addresses, limit=120, frames=None):
    """Poisons the pages at these guest-physical addresses for real; `frames` if they have been looked up before."""
    limit = deadline(limit)
    frames = frames or page_frames(guest, addresses)
    guest.qmp.take_events("MEMORY_FAILURE")
    injector = guest.host.spawn("/bin/sh", "-c", _INJECT)
    for frame in frames:
        injector.write(f"0x{frame:x}\n")
        guest.qmp.wait_event("MEMORY_FAILURE", limit=limit)
    injector.end_input()
    result = injector.wait(limit)
    if result.status != 0:
        raise HarnessError(f"injector: {result.stderr.strip()}")


def inject_at_once(guest, addresses, limit=60):
    """Poisons the pages at these guest-physical addresses for real while QEMU is stopped by SIGSTOP. It hears of one of
    them; returns the others' addresses, sorted."""
    limit = deadline(limit)
    frames = page_frames(guest, addresses)
    guest.qmp.take_events("MEMORY_FAILURE")
    guest.process.kill(signal.SIGSTOP)
    threads = f"/proc/{guest.process.pid()}/task/*/stat"
    guest.host.shell(f"while grep -qv ') T ' {threads}; do :; done", limit=limit)
    guest.host.run("/bin/sh", "-c", _INJECT, stdin="".join(f"0x{frame:x}\n" for frame in frames), limit=limit)
    guest.process.kill(signal.SIGCONT)
    told = guest.qmp.wait_event("MEMORY_FAILURE", limit=limit)["guest-address"]
    more = guest.qmp.take_events("MEMORY_FAILURE")
    if told not in addresses or more:
        raise HarnessError(f"QEMU was told of 0x{told:x}, and of {more}")
    return sorted(address for address in addresses if address != told)


def hide(guest, addresses):
    """Emulated poison at these guest-physical addresses that QEMU does not know of. The guest's memory must be plain."""
    for address in addresses:
        guest.qmp.execute("x-inject-memory-poison", {
            "block-id": "pc.ram", "offset": address, "length": PAGE, "hidden": True})


def reported(guest):
    """The poison set of a patched QEMU."""
    return guest.qmp.execute("query-memory-poison")


def ranges(poison_set):
    """The guest-physical ranges of a poison set, as sorted [address, length] lists, merged."""
    merged = []
    for entry in sorted(poison_set, key=lambda entry: entry["guest-address"]):
        start, length = entry["guest-address"], entry["length"]
        if merged and merged[-1][0] + merged[-1][1] == start:
            merged[-1][1] += length
        else:
            merged.append([start, length])
    return merged


def pages(poison_set):
    """The guest-physical addresses of all pages of a poison set, sorted."""
    return sorted(address for start, length in ranges(poison_set)
                  for address in range(start, start + length, PAGE))


def origins(poison_set):
    """The origins that occur in a poison set."""
    return {entry["origin"] for entry in poison_set}
