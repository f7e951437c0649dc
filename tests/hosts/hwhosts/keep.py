# SPDX-License-Identifier: GPL-2.0-or-later
"""Looking around in hosts that were left up: `./demo --keep`, and `./demo --enter` beside it.

The demo that keeps its hosts listens on a Unix socket. A client sends one line of JSON, {"where": "a",
"command": […], "terminal": true}, and is then joined to the command's input and output until it ends.
Nothing stays behind when the demo is ended.
"""

import contextlib
import json
import os
import selectors
import socket
import sys
import termios
import threading
import tty

from .base import HarnessError
from .channel import ChannelClosed, HostGone

FOREVER = 10 * 365 * 86400


def socket_path(settings):
    """Where the demo listens."""
    return settings.cache / "demo.sock"


def _read_line(sock):
    """One line and not a byte more: what follows is the command's input."""
    line = b""
    while not line.endswith(b"\n") and (byte := sock.recv(1)):
        line += byte
    return line


class Keeper:
    """Serves `./demo --enter` for a told Story until it is interrupted."""

    def __init__(self, story, settings):
        self.story = story
        self.path = socket_path(settings)

    def explain(self, say):
        """Prints how to look around."""
        lines = [
            "",
            "The hosts are up until you press Ctrl-C here. In another terminal:",
            "  ./demo --enter a                              a shell in host a",
            "  ./demo --enter b dmesg                        a command in host b",
            f"  ./demo --enter b {self.story.settings.program('daemon/hwpoisonctl')} list",
            "  ./demo --enter monitor info memory-poison     the monitor of the guest's QEMU",
            "  ./demo --enter guest check                    the program in the guest",
        ]
        say("\n".join(lines))

    def serve(self):
        """Until KeyboardInterrupt."""
        self.path.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(self.path))
            os.chmod(self.path, 0o600)
            server.listen()
            try:
                while True:
                    client, _ = server.accept()
                    threading.Thread(target=self._client, args=(client,), daemon=True).start()
            finally:
                self.path.unlink(missing_ok=True)

    def _client(self, client):
        with client, contextlib.suppress(OSError):
            request = json.loads(_read_line(client))
            try:
                self._answer(client, request)
            except (HarnessError, KeyError, ValueError) as error:
                client.sendall(f"{error}\n".encode())
            # Not just closed: another thread may be reading it.
            client.shutdown(socket.SHUT_RDWR)

    def _answer(self, client, request):
        where, command = request["where"], request["command"]
        if where == "monitor":
            client.sendall(self.story.guest.qmp.monitor(" ".join(command)).encode())
        elif where == "guest":
            client.sendall(json.dumps(self.story.guest.ask(" ".join(command))).encode() + b"\n")
        elif where in ("a", "b"):
            self._run(client, getattr(self.story.pair, where), command, request["terminal"])
        else:
            raise HarnessError(f"{where}? There are a, b, monitor and guest.")

    @staticmethod
    def _run(client, host, command, terminal):
        line = " ".join(command) or ("exec bash -i" if terminal else "exec bash")
        wrapped = ["script", "-qfec", line, "/dev/null"] if terminal else ["/bin/sh", "-c", line]
        process = host.spawn("env", f"TERM={os.environ.get('TERM', 'dumb')}", *wrapped)

        def feed():
            with contextlib.suppress(OSError, HostGone):
                while data := client.recv(65536):
                    process.write_bytes(data)
                process.end_input()

        threading.Thread(target=feed, daemon=True).start()
        try:
            while True:
                client.sendall(process.read_some(FOREVER))
        except ChannelClosed:
            pass
        except OSError:
            process.kill()


def _join(server):
    """Copies between our terminal and the demo until it closes."""
    selector = selectors.DefaultSelector()
    selector.register(server, selectors.EVENT_READ)
    try:
        selector.register(sys.stdin.fileno(), selectors.EVENT_READ)
    except PermissionError:  # a plain file or /dev/null: all of it is there at once
        server.sendall(sys.stdin.buffer.read())
        server.shutdown(socket.SHUT_WR)
    while True:
        for key, _ in selector.select():
            data = os.read(key.fd, 65536)
            if key.fd == server.fileno():
                if not data:
                    return
                os.write(sys.stdout.fileno(), data)
            elif data:
                server.sendall(data)
            else:
                server.shutdown(socket.SHUT_WR)
                selector.unregister(key.fd)


def enter(settings, where, command):
    """The client: runs a command in a kept host, on our terminal; returns an exit status."""
    terminal = sys.stdin.isatty() and where in ("a", "b")
    request = {"where": where, "command": command, "terminal": terminal}
    with socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(str(socket_path(settings)))
        except OSError as error:
            raise HarnessError("no demo keeps its hosts up: start ./demo --keep first") from error
        server.sendall(json.dumps(request).encode() + b"\n")
        saved = termios.tcgetattr(sys.stdin) if terminal else None
        try:
            if terminal:
                tty.setraw(sys.stdin)
            _join(server)
        finally:
            if saved:
                termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
    return 0
