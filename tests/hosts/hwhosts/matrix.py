# SPDX-License-Identifier: GPL-2.0-or-later
"""The table ../matrix, and docs/modes.md, which says what came out of each of its rows."""

import dataclasses
import re

from .base import PACKAGE, HarnessError

TABLE = PACKAGE / "matrix"
DOCUMENT = PACKAGE.parent.parent / "docs/modes.md"
NOT_RUN = "not run"

INTRODUCTION = """\
<!-- SPDX-License-Identifier: GPL-2.0-or-later -->
<!-- Written by HWP_UPDATE_MODES=1 ./check --full hosts, from tests/hosts/matrix and from runs. Do not edit. -->
# Which ways of moving a guest carry its poison

Each row was run between two virtual hosts, with a KVM guest that has a pattern in 16,384 pages of its memory. *Carried*
says that the guest arrived with exactly the poisoned pages poisoned, by QEMU's list and by touching each, and with
every other page as it was. *Refused* says that it went on at the source, with its poison, and with what words QEMU refused.
Memory of a device (DIMM, virtio-mem, NVDIMM), the firmware, and huge pages of 1 GiB, of which our guest makes no use, are
touched and compared through the page tables of QEMU.

Poison comes *before* the migration, in *set-up*, when it has begun but nothing has been sent, in its first *rounds* while
memory is being sent, in *later rounds*, when it has been sent but is written again, at *switchover* when the guest has
stopped, then as well but in memory that the *last round* is still to send, in *postcopy*, when the guest runs at the
destination already, while that is *paused* by the loss of its connection, or between the *checkpoints* of COLO. It is *real*
(the host's kernel has taken the page away and told QEMU), *emulated*, as what is left of an earlier migration, or *hidden*:
QEMU does not know of it until the migration reads the page. A page of huge memory is lost as a whole; of memory that is
*split* a part of a huge page can be lost (`split-hugetlb=on` of QEMU's agent object). Where good memory would be lost,
`widen=on` gives it up instead (`hugetlb/widen` of the tests). *vhost-user* is a disk whose backend maps the guest's
memory itself, and does not see the poison but after postcopy; QEMU warns or, with `vhost-user=refuse` of its agent object,
refuses.

| way | memory of the source | of the destination | poison comes | | |
|---|---|---|---|---|---|
"""


@dataclasses.dataclass(frozen=True)
class Row:
    """One row: a way to move, both kinds of memory, and when and how there is poison."""
    mode: str
    source: str
    destination: str
    moment: str
    how: str
    depth: str

    @property
    def name(self):
        """For the name of a test."""
        words = " ".join((self.mode, self.source, self.destination, self.moment, self.how))
        return re.sub("[^a-zA-Z0-9=]+", "-", words)

    @property
    def key(self):
        """Its line in the document, up to the result."""
        return f"| {self.mode} | {self.source} | {self.destination} | {self.moment} | {self.how} | "


def rows():
    """All rows of the table."""
    found = []
    for number, line in enumerate(TABLE.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) != len(dataclasses.fields(Row)):
            raise HarnessError(f"{TABLE}:{number}: {len(cells)} cells")
        found.append(Row(*cells))
    return found


def _results():
    """What the document says, by the rest of its line."""
    if not DOCUMENT.exists():
        return {}
    lines = re.findall(r"^(\| .* \| )([^|]+) \|$", DOCUMENT.read_text(), re.M)
    return dict(lines)


def known(row):
    """What the document says of a row."""
    return _results().get(row.key, NOT_RUN)


def record(row, result):
    """Writes what was seen, and the whole document."""
    results = {**_results(), row.key: result}
    DOCUMENT.write_text(INTRODUCTION + "".join(f"{one.key}{results.get(one.key, NOT_RUN)} |\n" for one in rows()))
