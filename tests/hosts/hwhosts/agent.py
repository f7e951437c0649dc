# SPDX-License-Identifier: GPL-2.0-or-later
"""hwpoisond in a host, started as its service manager would: ready when it says READY=1."""

import json
import signal

from .base import deadline

SOCKET = "/run/hwpoisond/vmm.sock"


class Agent:
    """The daemon in one host; can be killed, stopped, and started again."""

    def __init__(self, host, socket=SOCKET):
        self.host = host
        self.socket = socket
        self.process = None

    def start(self, limit=30):
        """Starts it and waits until it serves."""
        self.host.run("mkdir", "-p", self.socket.rsplit("/", 1)[0])
        program = self.host.settings.program("daemon/hwpoisond")
        self.process = self.host.spawn(program, "--socket", self.socket)
        self.process.wait_notified("READY=1", limit)
        return self

    def kill(self):
        """SIGKILL, and waits for its end."""
        if self.process and self.process.running:
            self.process.kill()
            self.process.wait(20)

    def pause(self):
        """SIGSTOP: it is there, but answers nothing."""
        self.process.kill(signal.SIGSTOP)

    def resume(self):
        """Goes on after `pause`."""
        self.process.kill(signal.SIGCONT)

    def _ask(self, *arguments):
        program = self.host.settings.program("daemon/hwpoisonctl")
        return json.loads(self.host.run(program, "--json", *arguments).stdout)

    def guests(self):
        """The names of the guests that it knows, by its own word."""
        return sorted(guest["name"] for guest in self._ask("list")["guests"])

    def pages_of(self, name):
        """The guest-physical addresses of the pages that it has on its list for a guest, sorted."""
        return sorted(address for entry in self._ask("show", name)["poison_set"] for address in range(
            entry["guest_phys_addr"], entry["guest_phys_addr"] + entry["length"], 4096))

    def wait_pages_of(self, name, addresses, limit=30):
        """Waits until it has just these pages on its list for a guest; QEMU tells it, but nobody waits for that."""
        limit = deadline(limit)
        while self.pages_of(name) != addresses:
            limit.left(f"{len(addresses)} pages of {name} in the inventory of {self.host.name}")

    def log(self):
        """What it has said."""
        return self.process.stderr.decode(errors="replace") if self.process else ""
