# SPDX-License-Identifier: GPL-2.0-or-later
"""QEMU's own vhost-user backend for a disk: a process in a host that maps the guest's memory, which must be shared."""

from .base import HarnessError
from .guest import RUN

DISK = "/root/disk"
_SOCKET = f"{RUN}/disk.sock"
DEVICE = ("-chardev", f"socket,id=disk,path={_SOCKET}", "-device", "vhost-user-blk-pci,chardev=disk")
"""The guest's end of it, for QEMU's command line."""
_START = """
import os, socket, sys
listener = socket.socket(socket.AF_UNIX)
listener.bind(sys.argv[1])
listener.listen()
listener.set_inheritable(True)
print("listens", flush=True)
os.execv(sys.argv[2], [sys.argv[2], f"--fd={listener.fileno()}", f"--blk-file={sys.argv[3]}"])
"""
"""Makes the socket first, so that QEMU finds it."""


def serve(world, host):
    """Starts the backend in a host, for one guest. No byte of its disk is zero."""
    program = world.settings.path("PATCHED_QEMU_BUILD") / "contrib/vhost-user-blk/vhost-user-blk"
    host.shell(f"rm -f {_SOCKET}; mkdir -p {RUN}; head -c 1M /dev/zero | tr '\\0' '\\377' >{DISK}")
    said = world.spawn(host, "python3", "-c", _START, _SOCKET, program, DISK).read_line(30)
    if said != "listens":
        raise HarnessError(f"vhost-user backend: {said}")
