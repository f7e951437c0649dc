# SPDX-License-Identifier: GPL-2.0-or-later
"""A guest's move from one QEMU to another, or into a file and out of it, driven over QMP."""

import itertools

from .base import HarnessError

_PORTS = itertools.count(4400)
_ENDS = ("completed", "failed", "cancelled")


class Migration:
    """One move; without a `uri` over TCP between the hosts. `channels` are QEMU's, where a URI does not do. The source
    connects to `connect` if something stands between it and the destination."""

    def __init__(self, source, destination, capabilities=("hwpoison", "return-path"), uri=None,
                 parameters=None, channels=None, connect=None):
        self.source = source
        self.destination = destination
        self.capabilities = ["events", *capabilities]
        self.uri = uri or self.new_address(destination)
        self.arguments = {"channels": channels} if channels else {"uri": connect or self.uri}
        self.parameters = parameters or {}

    @staticmethod
    def new_address(destination):
        """A port of the destination's that nothing has used."""
        return f"tcp:{destination.host.address}:{next(_PORTS)}"

    def _configure(self, guest, capabilities):
        guest.qmp.execute("migrate-set-capabilities", {"capabilities": [
            {"capability": name, "state": True} for name in capabilities]})
        if self.parameters:
            guest.qmp.execute("migrate-set-parameters", self.parameters)

    def listen(self):
        """Makes the destination ready to take the guest."""
        # The capability hwpoison is the source's; the others have to be set on both ends.
        self._configure(self.destination,
                        [name for name in self.capabilities if name != "hwpoison"])
        self.destination.qmp.execute("migrate-incoming", {"uri": self.uri})

    def configure_source(self):
        """Sets capabilities and parameters of the source, as `listen` does for the destination."""
        self._configure(self.source, self.capabilities)

    def go(self):
        """Starts it, once the source is configured; raises QmpError when QEMU refuses at once."""
        self.source.qmp.take_events("MIGRATION")  # those of an earlier attempt
        self.source.qmp.execute("migrate", self.arguments)

    def start(self):
        """Starts it; raises QmpError when QEMU refuses at once."""
        self.configure_source()
        self.go()

    def wait_status(self, *wanted, limit=120):
        """Waits until the source's migration has one of these states."""
        return self.source.qmp.wait_event(
            "MIGRATION", lambda data: data["status"] in wanted, limit)["status"]

    def information(self):
        """`query-migrate` of the source."""
        return self.source.qmp.execute("query-migrate")

    def wait_end(self, limit=120):
        """Waits for its end; returns `query-migrate` of the source."""
        if self.information().get("status") not in _ENDS:  # somebody may have waited for it already
            self.wait_status(*_ENDS, limit=limit)
        return self.information()

    def settle(self, limit=30):
        """After its success: the guest is on the destination now."""
        self.destination.wait_running(limit)
        self.source.disconnect()

    def expect_failure(self, limit=60):
        """Waits for its failure, after which the guest must run on the source; returns QEMU's reason."""
        information = self.wait_end(limit)
        if information["status"] != "failed":
            raise HarnessError(f"migration {information['status']} where it had to fail")
        self.source.wait_running(limit)
        return information.get("error-desc", "")

    def run(self, limit=120):
        """The whole move, which must succeed; returns `query-migrate` of the source."""
        self.listen()
        self.start()
        information = self.wait_end(limit)
        if information["status"] != "completed":
            raise HarnessError(
                f"migration {information['status']}: {information.get('error-desc', 'no reason given')}; "
                f"destination: {self.destination.qemu_log().strip()[-600:]}")
        self.settle(limit)
        return information
