# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's monitor (QMP), over anything that reads and writes lines: here a nested QEMU's own standard
input and output. Nothing has to be waited for that way, and QEMU's end is the end of the stream.

QEMU's main loop answers, and it may wait for something else: for a page of a guest in postcopy, or to send the state
of the devices. Events come all the same, and so do answers to out-of-band commands."""

import itertools
import json

from .base import HarnessError, Timeout, deadline


class QmpError(HarnessError):
    """QEMU refused a command; the text is QEMU's."""


class Qmp:
    """One monitor. Events that come while an answer is waited for are kept for `wait_event`."""

    def __init__(self, stream):
        self._stream = stream
        self._ids = itertools.count(1)
        self.events = []

    def _read(self, limit):
        return json.loads(self._stream.read_line(limit))

    def connect(self, limit=60):
        """Waits for the greeting and leaves negotiation mode."""
        limit = deadline(limit)
        while "QMP" not in (greeting := self._read(limit)):
            pass
        self.execute("qmp_capabilities", {"enable": greeting["QMP"]["capabilities"]}, limit=limit)

    def send(self, command, arguments=None, how="execute"):
        """Sends a command without waiting for its answer; returns its id, for `answer`."""
        number = next(self._ids)
        request = {how: command, "id": number}
        if arguments:
            request["arguments"] = arguments
        self._stream.write(json.dumps(request) + "\n")
        return number

    def answer(self, number, limit=30):
        """The answer to the command with this id. Answers come in the order of the commands."""
        limit = deadline(limit)
        while True:
            message = self._read(limit)
            if "event" in message:
                self.events.append(message)
            elif message.get("id") == number:
                if "error" in message:
                    raise QmpError(message["error"]["desc"])
                return message["return"]

    def execute(self, command, arguments=None, limit=30):
        """Sends a command; returns its answer, or raises QmpError."""
        return self.answer(self.send(command, arguments), limit)

    def execute_out_of_band(self, command, arguments=None, limit=30):
        """As `execute`, though the main loop be busy. QEMU has few such commands."""
        return self.answer(self.send(command, arguments, "exec-oob"), limit)

    def try_execute(self, command, limit=10):
        """The answer to a command, or None if the main loop is busy for so long. All events before have been read."""
        try:
            return self.execute(command, limit=limit)
        except Timeout:
            self.execute_out_of_band("yank", {"instances": []})
            return None

    def seen(self, name):
        """The data of all events of this name that have been read and that nobody has waited for, in order."""
        return [event.get("data", {}) for event in self.events if event["event"] == name]

    def monitor(self, line, limit=30):
        """A command of the human monitor; returns its text."""
        return self.execute("human-monitor-command", {"command-line": line}, limit)

    def wait_event(self, name, accept=lambda data: True, limit=30):
        """The first event of this name that `accept` takes, which is then forgotten; earlier
        events of other kinds are kept. Returns the event's data."""
        limit = deadline(limit)
        seen = 0
        while True:
            for index in range(seen, len(self.events)):
                event = self.events[index]
                if event["event"] == name and accept(event.get("data", {})):
                    del self.events[index]
                    return event.get("data", {})
            seen = len(self.events)
            message = self._read(limit)
            if "event" in message:
                self.events.append(message)

    def take_events(self, name):
        """All events of this name that have been read so far, which are then forgotten."""
        self.execute("query-status")
        taken = self.seen(name)
        self.events = [event for event in self.events if event["event"] != name]
        return taken
