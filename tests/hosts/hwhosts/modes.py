# SPDX-License-Identifier: GPL-2.0-or-later
"""The ways to move a guest, by name: how it is configured for each, and the class of moves.py that drives it."""

import dataclasses

from . import moves
from .guest import RUN


@dataclasses.dataclass
class Mode:
    """How a guest moves."""
    capabilities: tuple = ()
    parameters: dict = dataclasses.field(default_factory=dict)
    uri: str = None
    postcopy: bool = False
    move: type = moves.Move
    local: bool = False  # the destination is on the same host
    tls: str = None  # the kind of credentials
    hwpoison: bool = True  # the capability
    return_path: bool = True  # the capability, where somebody is at the other end
    carries_poison: bool = True  # if it may
    peer: str = ""  # what is at the other end instead of ours
    same_memory: bool = False  # both QEMUs map it

    @property
    def to_file(self):
        """Whether nobody is at the other end."""
        return issubclass(self.move, (moves.FileMove, moves.Snapshot))

    @property
    def begins_with_poison(self):
        """Whether a guest that has some is let go."""
        return self.hwpoison and self.carries_poison


def _multifd(compression="none", *more, tls=None, **parameters):
    return Mode(("multifd", *more), {"multifd-channels": 2, "multifd-compression": compression, **parameters}, tls=tls)


def _postcopy(*capabilities, **options):
    return Mode(("postcopy-ram", *capabilities), postcopy=True, **options)


def _file(*capabilities, move=moves.FileMove, **parameters):
    if "multifd" in capabilities:
        parameters["multifd-channels"] = 2
    return Mode(capabilities, parameters, f"file:{moves.FILE}", move=move, local=True)


def _snapshot(**options):
    return Mode(uri=f"file:{moves.DISK}", move=moves.Snapshot, local=True, **options)


def _shared(move, uri=None, mode="normal", capabilities=("x-ignore-shared",)):
    return Mode(capabilities, {"mode": mode}, uri, move=move, local=True, same_memory=True)


MODES = {
    "precopy": Mode(),
    "precopy, zero-page-detection=none": Mode((), {"zero-page-detection": "none"}),
    "precopy, pause-before-switchover": Mode(("pause-before-switchover",)),
    "precopy, xbzrle": Mode(("xbzrle",)),
    "precopy, Unix socket": Mode(uri=f"unix:{RUN}/move", local=True),
    "precopy, TLS x509": Mode(tls="x509"),
    "precopy, TLS psk": Mode(tls="psk"),
    "precopy, cancelled and retried": Mode(move=moves.RetriedMove),
    "precopy, -S": Mode(move=moves.StoppedMove),
    "precopy, capability hwpoison off": Mode(hwpoison=False),
    "precopy, return-path off": Mode(return_path=False),
    "precopy, to a QEMU without agent": Mode(peer="no agent"),
    "precopy, to an agent that is gone": Mode(peer="gone agent"),
    "precopy, to stock QEMU": Mode(peer="stock QEMU"),
    "multifd": _multifd(),
    "multifd, zero-page-detection=legacy": _multifd("none", **{"zero-page-detection": "legacy"}),
    "multifd, zero-page-detection=none": _multifd("none", **{"zero-page-detection": "none"}),
    "multifd, zlib": _multifd("zlib"),
    "multifd, zstd": _multifd("zstd"),
    "multifd, zero-copy-send": _multifd("none", "zero-copy-send"),
    "multifd, TLS x509": _multifd(tls="x509"),
    "multifd, TLS psk": _multifd(tls="psk"),
    "postcopy": _postcopy(),
    "postcopy, preempt": _postcopy("postcopy-preempt"),
    "postcopy, recovery": _postcopy(move=moves.RecoveredMove),
    "postcopy, preempt, recovery": _postcopy("postcopy-preempt", move=moves.RecoveredMove),
    "postcopy, TLS x509": _postcopy(tls="x509"),
    "postcopy, preempt, TLS psk": _postcopy("postcopy-preempt", tls="psk"),
    "file": _file(),
    "file, mapped-ram": _file("mapped-ram"),
    "file, mapped-ram, multifd": _file("mapped-ram", "multifd"),
    "file, mapped-ram, multifd, direct-io": _file("mapped-ram", "multifd", **{"direct-io": True}),
    "file, background-snapshot": _file("background-snapshot", move=moves.BackgroundMove),
    "exec": Mode(uri=f"exec:cat >{moves.FILE}", move=moves.FileMove, local=True, carries_poison=False),
    "snapshot": _snapshot(),
    "snapshot, capability hwpoison off": _snapshot(hwpoison=False),
    "x-ignore-shared": _shared(moves.Move, f"unix:{RUN}/move"),
    "CPR reboot": _shared(moves.FileMove, f"file:{moves.FILE}", "cpr-reboot"),
    "CPR transfer": _shared(moves.CprTransfer, None, "cpr-transfer", ()),
    "RDMA": Mode(uri="rdma:10.77.0.2:4444", move=moves.Rdma, carries_poison=False),
    # The thread of the return path takes the messages of COLO
    "COLO": Mode(("x-colo",), {"x-checkpoint-delay": 1_000_000}, move=moves.Colo, return_path=False, carries_poison=False),
}
