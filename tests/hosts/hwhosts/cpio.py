# SPDX-License-Identifier: GPL-2.0-or-later
"""The initramfs of a machine: one static program as /init, a console for it, and perhaps more files.

Written in the cpio format "newc" that the kernel reads, by hand because device nodes in it then
need no privilege. Cached by content, so that an initramfs never outlives the program it was made of.
"""

import hashlib
import os
import pathlib
import stat
import tempfile


def _entry(number, name, mode, data=b"", rdev=(0, 0)):
    fields = [number, mode, 0, 0, 1, 0, len(data), 0, 0, rdev[0], rdev[1], len(name) + 1, 0]
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    head = header + name.encode() + b"\0"
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def archive(init, files=()):
    """The bytes of an archive with `init` (bytes of a program) as /init, and `files`: pairs of a path and the
    bytes of a program."""
    directories = {str(parent) for name, _ in files for parent in pathlib.PurePath(name).parents}
    entries = [_entry(1, "dev", stat.S_IFDIR | 0o755)]
    entries += [_entry(10 + number, name, stat.S_IFDIR | 0o755)
                for number, name in enumerate(sorted(directories - {"."}))]
    entries += [
        _entry(2, "dev/console", stat.S_IFCHR | 0o600, rdev=(5, 1)),
        _entry(3, "init", stat.S_IFREG | 0o755, init),
    ]
    entries += [_entry(1000 + number, name, stat.S_IFREG | 0o755, data)
                for number, (name, data) in enumerate(files)]
    return b"".join([*entries, _entry(0, "TRAILER!!!", 0)])


def initramfs(program, cache, files=()):
    """The path of an initramfs with the file `program` as /init, below the directory `cache`; `files` as
    for archive()."""
    data = archive(pathlib.Path(program).read_bytes(), files)
    directory = cache / "initramfs"
    directory.mkdir(exist_ok=True)
    path = directory / f"{pathlib.Path(program).name}-{hashlib.sha256(data).hexdigest()[:16]}.cpio"
    if not path.exists():
        # Under a name of its own first: two runs at a time, or one that is interrupted, do no harm.
        handle, temporary = tempfile.mkstemp(dir=directory)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    return path
