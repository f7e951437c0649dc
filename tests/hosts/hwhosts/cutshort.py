# SPDX-License-Identifier: GPL-2.0-or-later
"""A migration that something happens to at an exact byte of its stream, and what becomes of the guest.

The stream goes through ../stream-relay, which holds it at that byte. Then the destination's QEMU is killed, the
connection is cut, or the destination's agent is killed, and the stream goes on, if there is one.
"""

import dataclasses

from .base import HarnessError
from .channel import ChannelClosed
from .migrate import Migration
from .relay import Relay

VICTIMS = ("destination", "connection", "agent")
NEVER = 1 << 62


@dataclasses.dataclass
class Phase:
    """How far the migration was when the stream was held."""
    source: str  # state of the migration at either end
    destination: str
    busy: bool  # whether the source is sending the devices' state or the last of the memory
    poisoned: bool  # whether the destination has made the guest's poison


class CutShort:
    """One migration. `switch_at` is the byte at which the source is told to go on in postcopy."""

    def __init__(self, world, source, destination, capabilities, switch_at=None):
        self.world = world
        self.source = source
        self.destination = destination
        self.switch_at = switch_at
        self.relay = Relay(world, destination.host)
        self.move = Migration(source, destination, capabilities, self.relay.listen, connect=self.relay.uri)

    def start(self):
        """The source sends, and nothing gets through yet."""
        self.move.listen()
        self.move.start()

    def pass_until(self, byte):
        """Lets the stream go on to this byte, with the change to postcopy on the way; returns False if it ends before."""
        if self.switch_at is not None and byte > self.switch_at:
            self.relay.pass_until(self.switch_at)
            self.source.qmp.execute("migrate-start-postcopy")
        return self.relay.pass_until(byte)

    def length(self):
        """Moves the guest; returns the length of the stream."""
        self.start()
        self.pass_until(NEVER)
        information = self.move.wait_end()
        if information["status"] != "completed":
            raise HarnessError(f"migration {information['status']}: {information.get('error-desc')}")
        self.move.settle()
        return self.relay.count()

    def phase(self):
        """How far it is. By the events, as either end's main loop may wait for what the relay holds."""
        here, there = self.source.qmp, self.destination.qmp
        information, _ = here.try_execute("query-migrate"), there.try_execute("query-status")
        busy = information is None or information.get("ram", {}).get("remaining") == 0
        return Phase(*(end.seen("MIGRATION")[-1]["status"] for end in (here, there)), busy,
                     bool(there.seen("MEMORY_POISON_RESTORED")))

    def strike(self, victim):
        """Ends the victim, and lets the stream go on."""
        if victim == "destination":
            self.destination.stop()
        elif victim == "agent":
            self.world.agent(self.destination.host).kill()
        else:
            self.relay.cut()
            return
        self.relay.pass_all()

    def _recover(self):
        """Goes on in postcopy over a new connection."""
        uri = f"tcp:{self.destination.host.address}:{self.relay.spare}"
        self.destination.qmp.execute_out_of_band("migrate-recover", {"uri": uri})
        self.source.qmp.execute("migrate", {"uri": uri, "resume": True})
        self.move.wait_status("completed")

    def _destination_becomes(self, wanted, *others):
        """Whether the destination's migration gets into the wanted state, rather than into one of the others or to the end
        of its QEMU."""
        try:
            return self.destination.qmp.wait_event(
                "MIGRATION", lambda data: data["status"] in (wanted, *others))["status"] == wanted
        except ChannelClosed:
            return False

    def _destination_waits(self):
        """Whether the destination has lost its source in postcopy, and has not ended."""
        return self._destination_becomes("postcopy-paused")

    def destination_has_all(self):
        """Whether the destination has the whole guest and runs it, though the source has failed and runs it, too."""
        return self._destination_becomes("completed", "failed")

    def outcome(self, limit=120):
        """Waits until the source knows how it ends, and recovers what can be recovered; returns where the guest is:
        "source", "destination", "recovered" or "gone"."""
        status = self.move.wait_status("completed", "failed", "postcopy-paused", limit=limit)
        if status == "failed":
            self.source.wait_running()
            return "source"
        if status == "completed":
            self.move.settle()
            return "destination"
        if not self._destination_waits():
            return "gone"
        self._recover()
        self.source.disconnect()
        return "recovered"
