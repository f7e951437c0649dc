# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration's stream held at an exact byte; ../stream-relay does it, in the host of the destination."""

import itertools

from .base import PACKAGE

_PORTS = itertools.count(5400, 3)


class Relay:
    """Between the source and one destination: `listen` is the URI of the destination, `uri` that of the source. `spare` is one more
    port of that host."""

    def __init__(self, world, host):
        outer = next(_PORTS)
        self.uri = f"tcp:{host.address}:{outer}"
        self.listen = f"tcp:127.0.0.1:{outer + 1}"
        self.spare = outer + 2
        self._process = world.spawn(host, "python3", PACKAGE / "stream-relay", outer, outer + 1)
        self._process.wait_notified("READY=1", 60)

    def pass_until(self, byte, limit=120):
        """Lets the stream go on to this byte, and waits until it is there; returns False if it ends before."""
        self._process.write(f"{byte}\n")
        return self._process.read_line(limit) == "held"

    def pass_all(self):
        """Lets it go on to its end."""
        self._process.write("all\n")

    def count(self):
        """How many bytes the source has sent through it."""
        self._process.write("count\n")
        return int(self._process.read_line(20))

    def cut(self):
        """Cuts its connections, and loses what is on its way."""
        self._process.kill()
        self._process.wait(20)
