# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to move a guest, by name, with something that happens at a moment on the way.

A Move takes a running guest to another QEMU: over a network, within a host, or into a file and out of it. It
ends with the guest at its destination, or raises Refused with QEMU's reason, and then the guest runs where it was.
"""

import dataclasses

from .guest import quit_politely
from .migrate import Migration
from .qmp import QmpError

FILE = "/root/moved"
SLOW, FAST = 2 << 20, 1 << 30


class Refused(Exception):
    """The guest was not let go; the text is QEMU's reason."""


@dataclasses.dataclass
class Mode:
    """How a guest moves."""
    capabilities: tuple = ()
    parameters: dict = dataclasses.field(default_factory=dict)
    uri: str = None  # of a way that stays in the host
    postcopy: bool = False

    @property
    def to_file(self):
        """Whether the guest ends before it is restored."""
        return bool(self.uri) and self.uri.startswith("file:")


def _multifd(compression="none", *more, **parameters):
    return Mode(("multifd", *more), {"multifd-channels": 2, "multifd-compression": compression, **parameters})


def _file(*capabilities, **parameters):
    if "multifd" in capabilities:
        parameters["multifd-channels"] = 2
    return Mode(capabilities, parameters, f"file:{FILE}")


MODES = {
    "precopy": Mode(),
    "precopy, zero-page-detection=none": Mode((), {"zero-page-detection": "none"}),
    "precopy, pause-before-switchover": Mode(("pause-before-switchover",)),
    "precopy, xbzrle": Mode(("xbzrle",)),
    "precopy, Unix socket": Mode(uri="unix:/run/guests/move"),
    "multifd": _multifd(),
    "multifd, zero-page-detection=legacy": _multifd("none", **{"zero-page-detection": "legacy"}),
    "multifd, zero-page-detection=none": _multifd("none", **{"zero-page-detection": "none"}),
    "multifd, zlib": _multifd("zlib"),
    "multifd, zstd": _multifd("zstd"),
    "multifd, zero-copy-send": _multifd("none", "zero-copy-send"),
    "postcopy": Mode(("postcopy-ram",), postcopy=True),
    "postcopy, preempt": Mode(("postcopy-ram", "postcopy-preempt"), postcopy=True),
    "file": _file(),
    "file, mapped-ram": _file("mapped-ram"),
    "file, mapped-ram, multifd": _file("mapped-ram", "multifd"),
    "file, background-snapshot": _file("background-snapshot"),
}

class Move:
    """One move of `source` by `mode`; `happen` is called at `moment`: "before" the start, in the "rounds" in which precopy
    sends, at "switchover" when the guest has stopped, or in "postcopy", when it runs at the destination and the rest of its
    memory is still coming."""

    def __init__(self, mode, source, destination, moment, happen):
        self.mode = mode
        self.source = source
        self.destination = destination
        self.moment = moment
        self.happen = happen
        capabilities = ["hwpoison", *mode.capabilities]
        if not mode.to_file:
            capabilities.append("return-path")
        if moment == "switchover" and "pause-before-switchover" not in capabilities:
            capabilities.append("pause-before-switchover")
        parameters = dict(mode.parameters)
        if moment == "rounds" or mode.postcopy:
            parameters.update({"max-bandwidth": SLOW, "max-postcopy-bandwidth": SLOW})
        self.migration = Migration(source, destination, capabilities, mode.uri, parameters)

    def _set(self, **parameters):
        self.source.qmp.execute("migrate-set-parameters",
                                {name.replace("_", "-"): value for name, value in parameters.items()})

    def _start(self):
        try:
            self.migration.start()
        except QmpError as error:
            raise Refused(str(error)) from error

    def _on_the_way(self):
        if self.moment == "rounds":
            self.migration.wait_status("active")
            self.happen()
            self._set(max_bandwidth=FAST)
        if self.mode.postcopy:
            self.source.qmp.execute("migrate-start-postcopy")
            self.migration.wait_status("postcopy-active", "failed")
            if self.moment == "postcopy":
                self.happen()
            self._set(max_postcopy_bandwidth=0)
        if "pause-before-switchover" in self.migration.capabilities:
            self.migration.wait_status("pre-switchover", "failed")
            if self.moment == "switchover":
                self.happen()
            self.source.qmp.execute("migrate-continue", {"state": "pre-switchover"})

    def _refuse_unless_completed(self):
        information = self.migration.wait_end()
        if information["status"] == "completed":
            return
        self.source.wait_running()
        raise Refused(information.get("error-desc", "no reason given"))

    def _restore(self):
        quit_politely(self.source)
        self.migration.listen()
        self.destination.qmp.wait_event("MIGRATION", lambda data: data["status"] == "completed", 60)
        self.destination.wait_running()

    def run(self):
        """Moves the guest."""
        if self.moment == "before":
            self.happen()
        if not self.mode.to_file:
            self.migration.listen()
        else:
            self.source.host.run("rm", "-f", FILE)
        self._start()
        self._on_the_way()
        self._refuse_unless_completed()
        if self.mode.to_file:
            self._restore()
        else:
            self.migration.settle()
