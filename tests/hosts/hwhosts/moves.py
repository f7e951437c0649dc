# SPDX-License-Identifier: GPL-2.0-or-later
"""Moving a guest, with something that happens at a moment on the way.

A Move takes a running guest to another QEMU: over a network, within a host, or into a file and out of it. It
ends with the guest at its destination, or raises Refused with QEMU's reason, and then the guest runs where it was.
Refused are only migrations: whatever else goes wrong is an error of the test. Which of these classes is used in what
way is in modes.py.
"""

import contextlib

from . import tls
from .base import HarnessError, deadline
from .guest import RUN, quit_politely
from .migrate import Migration
from .qmp import QmpError

FILE = "/root/moved"
DISK = "/root/disk.qcow2"
SLOW, FAST = 1 << 17, 1 << 30
LONG = 1_000_000  # ms: downtime in which all fits


class Refused(Exception):
    """The guest was not let go; the text is QEMU's reason. `early` says that the source refused at once."""

    def __init__(self, reason, early=False):
        super().__init__(reason)
        self.early = early


class Move:
    """One move of `source` by `mode` to the QEMU that `destination(**options)` starts; poison.happen() is called at
    `moment`, and poison.start_writing() and stop_writing() on the way to "later rounds" and the "last round".

    The moments: "before" the start, in "set-up" when nothing has been sent, in the "rounds" in which precopy sends (its
    first), in "later rounds" when pages are sent again, at "switchover" when the guest has stopped, then too but before the
    "last round" sends these pages again, in "postcopy", when it runs at the destination and the rest of its memory is still
    coming, or "paused", when that has been interrupted."""

    def __init__(self, mode, source, destination, moment, poison):
        self.mode = mode
        self.source = source
        self.start_destination = destination
        self.moment = moment
        self.poison = poison
        self.destination = None
        self.migration = None

    def _happen_if(self, moment):
        if self.moment == moment:
            self.poison.happen()

    def _migration(self, **options):
        capabilities = ["hwpoison"] if self.mode.hwpoison else []
        capabilities += self.mode.capabilities
        if self.mode.return_path and not self.mode.to_file:
            capabilities.append("return-path")
        if self.moment in ("switchover", "last round") and "pause-before-switchover" not in capabilities:
            capabilities.append("pause-before-switchover")
        speed = SLOW if self.moment == "rounds" or self.mode.postcopy else FAST
        parameters = {**self.mode.parameters, "max-bandwidth": speed}
        if self.mode.postcopy:
            parameters["max-postcopy-bandwidth"] = SLOW
        if self.moment in ("later rounds", "last round"):
            parameters["downtime-limit"] = 1
        if self.mode.tls:
            parameters.update({"tls-creds": "tls0", "tls-hostname": tls.NAME})
        return Migration(self.source, self.destination, capabilities, self.mode.uri, parameters, **options)

    def _open(self):
        self.destination = self.start_destination()
        if self.mode.tls:
            tls.add_credentials(self.destination, self.mode.tls, "server")
            tls.add_credentials(self.source, self.mode.tls, "client")
        self.migration = self._migration()
        self.migration.listen()

    def _set(self, **parameters):
        self.source.qmp.execute("migrate-set-parameters",
                                {name.replace("_", "-"): value for name, value in parameters.items()})

    def _start(self):
        self.migration.configure_source()
        if self.moment == "set-up":
            self.destination.host.leave_network(self.source.host)
        try:
            self.migration.go()
        except QmpError as error:
            raise Refused(str(error), early=True) from error
        if self.moment == "set-up":
            self._in_set_up()

    def _in_set_up(self):
        """It has to wait for a connection."""
        self.poison.happen()
        status = self.migration.information()["status"]
        self.destination.host.return_to_network()
        if status != "setup":
            raise HarnessError(f"the poison did not come in set-up: {status}")

    def _write_again(self):
        """The guest writes and no end is in sight, until all has been sent at least once."""
        self.poison.start_writing()
        self.source.qmp.wait_event("MIGRATION_PASS", lambda data: data["pass"] > 2, 120)
        self._set(max_bandwidth=SLOW)
        self.poison.stop_writing()

    def _in_rounds(self):
        if self.moment == "rounds":
            self.migration.wait_status("active")
            self.poison.happen()
            self._set(max_bandwidth=FAST)
        elif self.moment == "later rounds":
            self._write_again()
            self.poison.happen()
            self._set(max_bandwidth=FAST, downtime_limit=300)
        elif self.moment == "last round":
            self._write_again()
            self._set(downtime_limit=LONG)  # it is the next

    def _start_postcopy(self):
        """QEMU may refuse that, and goes on with precopy. Then postcopy is waited for in vain, or something else fails."""
        with contextlib.suppress(QmpError):
            self.source.qmp.execute("migrate-start-postcopy")

    def _in_postcopy(self):
        if self.migration.wait_status("postcopy-active", "failed") == "failed":
            return
        self.destination.wait_running()
        self._happen_if("postcopy")
        self._interrupt()
        self._set(max_postcopy_bandwidth=0)

    def _interrupt(self):
        """What a way does to postcopy."""

    def _at_switchover(self):
        if "pause-before-switchover" not in self.migration.capabilities:
            return
        if self.migration.wait_status("pre-switchover", "failed") == "failed":
            return
        self._happen_if("switchover")
        self._happen_if("last round")
        self.source.qmp.execute("migrate-continue", {"state": "pre-switchover"})

    def _on_the_way(self):
        self._in_rounds()
        if self.mode.postcopy:
            self._start_postcopy()
        self._at_switchover()
        if self.mode.postcopy:
            self._in_postcopy()

    def _refuse_unless_completed(self):
        if self.migration.wait_end()["status"] == "completed":
            return
        self.source.wait_running()
        raise Refused(self._final_reason())

    def _final_reason(self):
        """The loss of the connection may be noticed before what the destination has said of it is read. QEMU's log has what
        was known in the end."""
        limit = deadline(60)
        while (reason := self.migration.information().get("error-desc", "")) not in self.source.qemu_log():
            limit.left(f"'{reason}' in QEMU's log")
        return reason or "no reason given"

    def _arrive(self):
        self.migration.settle()

    def _run(self):
        self._open()
        self._start()
        self._on_the_way()
        self._refuse_unless_completed()
        self._arrive()

    def run(self):
        """Moves the guest; `destination` is then where it runs."""
        self._happen_if("before")
        self._run()


class FileMove(Move):
    """Into a file, and out of it after the source has ended."""

    def _open(self):
        self.source.host.run("rm", "-f", FILE)
        self.migration = self._migration()

    def _arrive(self):
        quit_politely(self.source)
        self.destination = self.start_destination()
        self.migration.destination = self.destination
        self.migration.listen()
        self.destination.qmp.wait_event("MIGRATION", lambda data: data["status"] == "completed", 60)
        self.destination.wait_running()


class BackgroundMove(FileMove):
    """A snapshot in the background, of the guest as it was when it went on. A page that is written to is saved first."""

    def _start(self):
        if self.moment == "rounds":
            self.poison.aim()
        super()._start()

    def _in_rounds(self):
        if self.moment == "rounds":
            self.source.qmp.wait_event("RESUME", limit=60)
            self._set(max_bandwidth=SLOW)  # it minds only what is set from here on
        super()._in_rounds()


class StoppedMove(Move):
    """To a QEMU that is told by -S not to run the guest; that comes later."""

    def __init__(self, mode, source, destination, moment, poison):
        super().__init__(mode, source, lambda: destination(extra=["-S"]), moment, poison)

    def _arrive(self):
        self.destination.qmp.wait_event("MIGRATION", lambda data: data["status"] == "completed", 60)
        if self.destination.status() == "running":
            raise HarnessError("the guest runs in spite of -S")
        self.destination.qmp.execute("cont")
        super()._arrive()


class RetriedMove(Move):
    """Cancelled while memory is being sent, and started anew."""

    def _cancel(self):
        self._open()
        self.migration.parameters["max-bandwidth"] = SLOW
        self._start()
        self.migration.wait_status("active")
        self._happen_if("rounds")
        self.source.qmp.execute("migrate_cancel")
        self.migration.wait_status("cancelled")
        self.source.wait_running()
        self.destination.wait_end()

    def _run(self):
        self._cancel()
        self.moment = None
        super()._run()


class RecoveredMove(Move):
    """Postcopy whose connection breaks, and that goes on over another."""

    def _interrupt(self):
        self.source.qmp.execute("migrate-pause")
        self.migration.wait_status("postcopy-paused")
        self.destination.qmp.wait_event("MIGRATION", lambda data: data["status"] == "postcopy-paused", 60)
        self._happen_if("paused")
        uri = Migration.new_address(self.destination)
        self.destination.qmp.execute("migrate-recover", {"uri": uri})
        self.source.qmp.execute("migrate", {"uri": uri, "resume": True})
        self.migration.wait_status("postcopy-active")


class CprTransfer(Move):
    """To another QEMU on the same host, which takes over the memory."""

    def _open(self):
        main, cpr = f"{RUN}/main", f"{RUN}/cpr"
        self.source.host.run("rm", "-f", main, cpr)
        channels = [{"channel-type": kind, "addr": {"transport": "socket", "type": "unix", "path": path}}
                    for kind, path in (("main", main), ("cpr", cpr))]
        words = (f"unix:{main}", f'{{"channel-type": "cpr", "addr": {{"transport": "socket", "type": "unix", '
                                 f'"path": "{cpr}"}}}}')
        # It does not answer before it has the memory
        self.destination = self.start_destination(incoming=words, connect=False)
        self.source.host.shell(f"until test -S {cpr}; do sleep 0.1; done", limit=30)
        self.migration = self._migration(channels=channels)

    def _start(self):
        super()._start()
        self.destination.qmp.connect()


class Rdma(Move):
    """Over RDMA, for which there is no device here: it can be refused, and no more."""

    def _open(self):
        self.migration = self._migration(channels=[{"channel-type": "main", "addr": {
            "transport": "rdma", "host": "10.77.0.2", "port": "4444"}}])


class Colo(Move):
    """COLO: the guest goes on here, and the other QEMU gets it again with each checkpoint. Without poison that has no end, and
    nothing arrives. An operator ends what QEMU has given up."""

    def _on_the_way(self):
        self._in_rounds()
        if self.migration.wait_status("colo", "failed") == "failed":
            return
        self._happen_if("checkpoints")
        self._set(x_checkpoint_delay=100)  # the next one is due now
        self.source.qmp.wait_event("COLO_EXIT", limit=60)
        self.source.qmp.execute("x-colo-lost-heartbeat")

    def _refuse_unless_completed(self):
        information = self.migration.wait_end()
        self.source.wait_running()
        raise Refused(information.get("error-desc", "no reason given"))


def _job(guest, command, job, **arguments):
    """Runs a job to its end; returns its error, or None."""
    guest.qmp.execute(command, {"job-id": job, **arguments})
    guest.qmp.wait_event("JOB_STATUS_CHANGE", lambda data: (data["id"], data["status"]) == (job, "concluded"), 120)
    error = next(one for one in guest.qmp.execute("query-jobs") if one["id"] == job).get("error")
    guest.qmp.execute("job-dismiss", {"id": job})
    return error


def _create(guest, **options):
    error = _job(guest, "blockdev-create", "create", options=options)
    if error:
        raise HarnessError(f"blockdev-create: {error}")


class Snapshot(Move):
    """Saved in a qcow2 image by snapshot-save, and loaded from it by another QEMU. That takes of a migration just the
    capabilities."""

    IMAGE = {"tag": "moved", "vmstate": "disk0", "devices": ["disk0"]}

    def _open(self):
        self.source.host.run("rm", "-f", DISK)
        _create(self.source, driver="file", filename=DISK, size=0)
        self._add(self.source, driver="file", filename=DISK, **{"node-name": "file0"})
        _create(self.source, driver="qcow2", file="file0", size=1 << 20)
        self._add(self.source, driver="qcow2", file="file0", **{"node-name": "disk0"})
        self.migration = self._migration()

    @staticmethod
    def _add(guest, **options):
        guest.qmp.execute("blockdev-add", options)

    def _start(self):
        self.migration.configure_source()
        error = _job(self.source, "snapshot-save", "save", **self.IMAGE)
        if error:
            self.source.wait_running()
            raise Refused(error)

    def _on_the_way(self):
        """All of it was one command."""

    def _refuse_unless_completed(self):
        quit_politely(self.source)

    def _arrive(self):
        self.destination = self.start_destination(incoming=(), extra=["-S"])
        self._add(self.destination, driver="file", filename=DISK, **{"node-name": "file0"})
        self._add(self.destination, driver="qcow2", file="file0", **{"node-name": "disk0"})
        error = _job(self.destination, "snapshot-load", "load", **self.IMAGE)
        if error:
            raise HarnessError(f"snapshot-load: {error}; {self.destination.qemu_log()}")
        self.destination.qmp.execute("cont")
        self.destination.wait_running()
