# SPDX-License-Identifier: GPL-2.0-or-later
"""Commands and Unix sockets inside a host, many at a time over one virtio-serial port.

The other end is guest/host-agent.c, which describes the frames. One thread per host reads the port
and puts what comes into the queue of its channel; whoever waits for a channel waits on that queue.
"""

import dataclasses
import itertools
import queue
import signal
import struct
import threading

from .base import HarnessError, Timeout, deadline

_HEADER = struct.Struct("<IIc")
_GONE = "gone"


class HostGone(HarnessError):
    """The machine has stopped, or its agent has: nothing more will come from it."""


class ChannelClosed(HarnessError):
    """The command or the peer at the other end of a channel has ended."""


class Connection:
    """The port of one host."""

    def __init__(self, sock, name):
        self.name = name
        self._sock = sock
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._queues = {0: queue.SimpleQueue()}
        self.gone = False
        threading.Thread(target=self._read_all, name=f"port of {name}", daemon=True).start()

    def _read_exactly(self, length):
        data = bytearray()
        while len(data) < length:
            part = self._sock.recv(length - len(data))
            if not part:
                raise EOFError
            data += part
        return bytes(data)

    def _read_all(self):
        try:
            while True:
                length, number, kind = _HEADER.unpack(self._read_exactly(_HEADER.size))
                payload = self._read_exactly(length)
                with self._lock:
                    target = self._queues.get(number)
                if target:
                    target.put((kind.decode(), payload))
        except (EOFError, OSError):
            with self._lock:
                self.gone = True
                queues = list(self._queues.values())
            for target in queues:
                target.put((_GONE, b""))

    def open(self):
        """A new channel: its number and its queue."""
        with self._lock:
            number = next(self._numbers)
            self._queues[number] = queue.SimpleQueue()
            if self.gone:
                self._queues[number].put((_GONE, b""))
            return number, self._queues[number]

    def forget(self, number):
        """Drops what still comes on a channel."""
        with self._lock:
            self._queues.pop(number, None)

    def send(self, number, kind, payload=b""):
        """Sends one frame."""
        frame = _HEADER.pack(len(payload), number, kind.encode()) + payload
        try:
            with self._lock:
                self._sock.sendall(frame)
        except OSError as error:
            raise HostGone(f"host {self.name}: {error}") from error

    def receive(self, source, limit, what):
        """The next frame of a queue, as (kind, payload)."""
        try:
            kind, payload = source.get(timeout=deadline(limit).left(what))
        except queue.Empty:
            raise Timeout(f"{what}: nothing after {deadline(limit).seconds:.0f} s") from None
        if kind == _GONE:
            source.put((_GONE, b""))
            raise HostGone(f"{what}: host {self.name} has stopped")
        return kind, payload

    def wait_ready(self, limit):
        """Waits for the host's agent; returns the kernel's release."""
        kind, payload = self.receive(self._queues[0], limit, f"boot of host {self.name}")
        if kind != "R":
            raise HarnessError(f"host {self.name} said {kind} before it was ready")
        return payload.decode()

    def close(self):
        """Ends the thread that reads, too."""
        self._sock.close()


@dataclasses.dataclass
class Result:
    """What a command left: exit status (128 + n after signal n) and its output as text."""

    status: int
    stdout: str
    stderr: str


class Command:
    """A command that runs in a host; `read_line`, `write` and QMP talk to it while it does."""

    def __init__(self, connection, arguments):
        self._connection = connection
        self.what = " ".join(arguments)[:100]
        self._number, self._queue = connection.open()
        self._pid = None
        self._status = None
        self._notified = []
        self._unread = bytearray()
        self.stdout = bytearray()
        self.stderr = bytearray()
        connection.send(self._number, "X", b"".join(a.encode() + b"\0" for a in arguments))

    def _take(self, limit):
        kind, payload = self._connection.receive(self._queue, limit, self.what)
        if kind == "D":
            self.stdout += payload
            self._unread += payload
        elif kind == "2":
            self.stderr += payload
        elif kind == "P":
            self._pid = int(payload)
        elif kind == "N":
            self._notified += payload.decode().splitlines()
        elif kind == "F":
            raise HarnessError(f"{self.what}: {payload.decode()}")
        elif kind == "S":
            word, number = payload.decode().split()
            self._status = int(number) + (128 if word == "signal" else 0)
            self._connection.forget(self._number)

    @property
    def running(self):
        """Whether it has not ended yet, as far as has been heard."""
        while self._status is None and not self._queue.empty():
            self._take(5)
        return self._status is None

    def pid(self, limit=20):
        """Its process id in the host."""
        limit = deadline(limit)
        while self._pid is None:
            self._take(limit)
        return self._pid

    def write(self, text):
        """To its standard input."""
        self.write_bytes(text.encode())

    def write_bytes(self, data):
        """To its standard input."""
        self._connection.send(self._number, "D", data)

    def end_input(self):
        """Ends its standard input."""
        self._connection.send(self._number, "E")

    def read_line(self, limit):
        """One line of its standard output that nobody has read yet, without the newline."""
        limit = deadline(limit)
        while b"\n" not in self._unread:
            if self._status is not None:
                raise ChannelClosed(f"{self.what} ended with status {self._status}: "
                                    f"{self.stderr.decode(errors='replace').strip()[-600:]}")
            self._take(limit)
        line, _, rest = bytes(self._unread).partition(b"\n")
        self._unread = bytearray(rest)
        return line.decode(errors="replace")

    def read_some(self, limit):
        """Whatever is next of either output, as bytes."""
        seen, errors = len(self._unread), len(self.stderr)
        while len(self._unread) == seen and len(self.stderr) == errors:
            if self._status is not None:
                raise ChannelClosed(f"{self.what} ended with status {self._status}")
            self._take(limit)
        data, self._unread = bytes(self._unread), bytearray()
        return data + bytes(self.stderr[errors:])

    def wait_stderr(self, text, limit):
        """Waits until `text` is on its standard error."""
        limit = deadline(limit)
        while text.encode() not in self.stderr:
            if self._status is not None:
                raise ChannelClosed(f"{self.what} ended without saying '{text}'")
            self._take(limit)

    def wait_notified(self, word, limit):
        """Waits until it has said `word` (READY=1) to its service manager, which is us."""
        limit = deadline(limit)
        while word not in self._notified:
            if self._status is not None:
                raise ChannelClosed(f"{self.what} ended with status {self._status} before {word}: "
                                    f"{self.stderr.decode(errors='replace').strip()[-600:]}")
            self._take(limit)

    def kill(self, number=signal.SIGKILL):
        """Sends a signal to it and to what it started."""
        self._connection.send(self._number, "K", b"%d" % number)

    def wait(self, limit):
        """Waits for its end; returns the Result."""
        limit = deadline(limit)
        while self._status is None:
            self._take(limit)
        return Result(self._status, self.stdout.decode(errors="replace"),
                      self.stderr.decode(errors="replace"))


class SocketStream:
    """A connection to a Unix socket in a host: lines in, lines out."""

    def __init__(self, connection, path, limit=20):
        self._connection = connection
        self.what = path
        self._number, self._queue = connection.open()
        self._unread = bytearray()
        connection.send(self._number, "U", path.encode())
        kind, payload = connection.receive(self._queue, limit, f"connection to {path}")
        if kind != "O":
            raise ChannelClosed(f"{path}: {payload.decode()}")

    def write(self, text):
        """Sends text."""
        self._connection.send(self._number, "D", text.encode())

    def read_line(self, limit):
        """One line, without the newline."""
        limit = deadline(limit)
        while b"\n" not in self._unread:
            kind, payload = self._connection.receive(self._queue, limit, self.what)
            if kind == "E":
                raise ChannelClosed(f"{self.what}: closed by its peer")
            self._unread += payload
        line, _, rest = bytes(self._unread).partition(b"\n")
        self._unread = bytearray(rest)
        return line.decode(errors="replace")

    def close(self):
        """Closes it; nothing happens if the peer has done so before."""
        self._connection.send(self._number, "C")
        self._connection.forget(self._number)
