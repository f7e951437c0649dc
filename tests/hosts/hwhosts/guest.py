# SPDX-License-Identifier: GPL-2.0-or-later
"""The guest nested in a host: QEMU with KVM, and guest/guest-pattern.c as its whole system.

QEMU's monitor is the standard input and output of the QEMU process. The pattern program answers on a
virtio-serial port, which QEMU offers as a Unix socket; after a migration that is the destination's.
"""

import json

from . import cpio, logrules
from .base import FIRMWARE, HarnessError, deadline
from .channel import ChannelClosed
from .qmp import Qmp

GUEST_OPTIONS = "console=ttyS0 loglevel=3 log_buf_len=4M random.trust_cpu=on no_timer_check"
RUN = "/run/guests"
BUILT_IN = "builtin"
"""For a Guest's `agent`: QEMU does by itself what the agent would do for it."""


class Guest:
    """One QEMU process in a host.

    `agent` is the path of hwpoisond's socket in the host, BUILT_IN, or None for a QEMU that cannot make
    emulated poison, and `agent_options` follow that path; `incoming` makes it wait for a migration, which True
    leaves to a QMP command, and else are QEMU's words for from where; `extra` are more arguments for QEMU.
    """

    def __init__(self, host, qemu, name="vm1", agent=None, incoming=False, memory=256, extra=(), agent_options=""):
        self.host = host
        self.qemu = qemu
        self.name = name
        self.agent = agent
        self.agent_options = agent_options
        self.incoming = ("defer",) if incoming is True else incoming or ()
        self.memory = memory
        self.extra = list(extra)
        self.process = None
        self.qmp = None
        self._pattern = None
        self._log_seen = 0

    def _arguments(self):
        host = self.host
        initrd = cpio.initramfs(host.settings.guest_program("guest-pattern"), host.settings.cache)
        arguments = [
            self.qemu, *FIRMWARE, "-nodefaults", "-no-user-config", "-display", "none",
            "-name", f"{self.name},debug-threads=on", "-machine", "pc,dump-guest-core=off", "-accel", "kvm",
            # The host's own processor: the guest's kernel survives a memory error only with SUCCOR.
            "-cpu", "host", "-m", str(self.memory), "-qmp", "stdio",
            # A fraction of SeaBIOS's time, and that is most of what the boot and a reset take.
            "-bios", "qboot.rom",
            "-serial", f"file:/shared/{self.name}.serial.log",
            "-monitor", f"unix:{RUN}/{self.name}.monitor,server=on,wait=off",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=pattern,path={RUN}/{self.name}.pattern,server=on,wait=off",
            "-device", "virtserialport,chardev=pattern,name=hwp.pattern,nr=1",
            "-kernel", host.settings.kernel, "-initrd", initrd, "-append", GUEST_OPTIONS,
        ]
        if self.agent == BUILT_IN:
            arguments += ["-object", "hwpoison-builtin,id=hp0"]
        elif self.agent:
            arguments += ["-object", f"hwpoison-agent,id=hp0,path={self.agent}{self.agent_options}"]
        for where in self.incoming:
            arguments += ["-incoming", where]
        return arguments + self.extra

    def launch(self):
        """Starts QEMU."""
        self.host.run("mkdir", "-p", RUN)
        self.process = self.host.spawn(*self._arguments())
        self.qmp = Qmp(self.process)
        return self

    def start(self):
        """Starts QEMU and connects to its monitor."""
        self.launch().qmp.connect()
        return self

    def wait_ready(self, limit=120):
        """Waits until the pattern is in memory."""
        self.ask("hello", limit)
        return self

    def tell(self, command):
        """Sends a command to the pattern program."""
        if self._pattern is None:
            self._pattern = self.host.connect(f"{RUN}/{self.name}.pattern")
        self._pattern.write(command + "\n")

    def ask(self, command, limit=60):
        """Sends a command to the pattern program; returns its answer."""
        limit = deadline(limit)
        self.tell(command)
        try:
            return json.loads(self._pattern.read_line(limit))
        except HarnessError as error:
            raise HarnessError(f"guest {self.name} on host {self.host.name}: {command[:40]}: {error}; "
                               f"{self.last_words()}") from error

    def disconnect(self):
        """Closes the connection to the pattern program, such as when it has moved away."""
        if self._pattern:
            self._pattern.close()
            self._pattern = None

    def ask_pages(self, command, pages, limit=60):
        """A command with a list of pages."""
        return self.ask(" ".join([command, *map(str, pages)]), limit)

    def check(self, limit=120):
        """Has every page checked."""
        return self.ask("check", limit)

    def reset(self, limit=120):
        """Resets the machine and waits until its new system is up."""
        self.qmp.execute("system_reset")
        self.qmp.wait_event("RESET", limit=limit)
        self._log_seen = 0
        self.wait_ready(limit)

    def status(self):
        """QEMU's run state."""
        return self.qmp.execute("query-status")["status"]

    def wait_running(self, limit=30):
        """Waits until its processor runs."""
        limit = deadline(limit)
        while self.status() != "running":
            self.qmp.wait_event("RESUME", limit=limit)

    def alive(self):
        """Whether the guest runs, by its own word."""
        return self.status() == "running" and self.ask("hello")["pages"] > 0

    def serial_text(self):
        """What the guest has said on its serial console."""
        path = self.host.shared / f"{self.name}.serial.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def qemu_log(self):
        """What QEMU has said on its standard error."""
        return self.process.stderr.decode(errors="replace") if self.process else ""

    def last_words(self):
        """For an error message."""
        lines = (self.qemu_log() + self.serial_text()).strip().splitlines()[-6:]
        return "last words: " + " | ".join(lines)

    def new_offences(self):
        """Lines of the guest's kernel log that break a rule and that no earlier call returned."""
        lines = self.ask("klog")["klog"].splitlines()
        new, self._log_seen = lines[self._log_seen:], len(lines)
        return [f"guest {self.name}: {line}" for line in logrules.offences("\n".join(new))]

    def serial_offences(self):
        """The same for the serial console, which is there even when the guest has crashed."""
        return [f"guest {self.name}: {line}" for line in logrules.offences(self.serial_text())]

    def wait_end(self, limit=30):
        """Waits until QEMU has ended; returns its exit status."""
        return self.process.wait(limit).status

    def stop(self):
        """Ends QEMU."""
        self.disconnect()
        if self.process and self.process.running:
            self.process.kill()
            self.process.wait(30)


def quit_politely(guest, limit=30):
    """Ends QEMU by its monitor, so that it can say goodbye to its agent."""
    guest.disconnect()
    try:
        guest.qmp.execute("quit")
    except ChannelClosed:
        pass
    return guest.wait_end(limit)
