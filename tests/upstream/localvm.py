# SPDX-License-Identifier: GPL-2.0-or-later
"""A QEMU on this machine, emulated, with its monitor on its own standard input and output.

For what is measured or compared between stock and patched QEMU without virtual hosts: such a guest
has firmware and memory, and nothing runs in it."""

import os
import pathlib
import select
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "hosts"))

from hwhosts.base import FIRMWARE, HarnessError, deadline  # noqa: E402  (the path comes first)
from hwhosts.qmp import Qmp  # noqa: E402


class _Lines:
    """Lines from and to a process, as Qmp wants them."""

    def __init__(self, process):
        self._process = process
        self._buffer = b""

    def write(self, text):
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def read_line(self, limit):
        limit = deadline(limit)
        out = self._process.stdout.fileno()
        while b"\n" not in self._buffer:
            if select.select([out], [], [], limit.left("a line of QEMU's monitor"))[0]:
                data = os.read(out, 65536)
                if not data:
                    raise HarnessError("QEMU ended: " + self._process.stderr.read().decode())
                self._buffer += data
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line.decode()


class LocalVm:
    """Use as a context manager: the process has ended when the block is left."""

    def __init__(self, qemu, *arguments):
        self.process = subprocess.Popen(
            [str(qemu), *FIRMWARE, "-nodefaults", "-no-user-config", "-display", "none",
             "-accel", "tcg", "-machine", "pc", "-qmp", "stdio", *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.qmp = Qmp(_Lines(self.process))

    def __enter__(self):
        self.qmp.connect()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def set_capabilities(self, *names):
        """Turns migration capabilities on."""
        self.qmp.execute("migrate-set-capabilities", {"capabilities": [
            {"capability": name, "state": True} for name in names]})

    def migrate(self, uri, limit=120):
        """Migrates and waits; returns what query-migrate says of a completed migration."""
        limit = deadline(limit)
        self.set_capabilities("events")
        self.qmp.execute("migrate", {"uri": uri})
        self.qmp.wait_event("MIGRATION", lambda e: e["status"] in ("completed", "failed"), limit)
        info = self.qmp.execute("query-migrate")
        if info["status"] != "completed":
            raise HarnessError(f"migration to {uri} failed: {info.get('error-desc')}")
        return info
