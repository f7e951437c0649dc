# SPDX-License-Identifier: GPL-2.0-or-later
"""hwpoisond in a host, started as its service manager would: ready when it says READY=1."""

import json
import signal

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

    def inventory(self):
        """`hwpoisonctl list` as data."""
        program = self.host.settings.program("daemon/hwpoisonctl")
        return json.loads(self.host.run(program, "list", "--json").stdout)

    def log(self):
        """What it has said."""
        return self.process.stderr.decode(errors="replace") if self.process else ""
