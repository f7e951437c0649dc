# SPDX-License-Identifier: GPL-2.0-or-later
"""Keys for migrations over TLS, made for each run and in no other place: certificates of an authority of their own, and
a pre-shared key. QEMU wants a directory with files of certain names, which each host gets in /shared."""

import math
import secrets
import shutil
import subprocess
import time

NAME = "destination.test"
DIRECTORY = "/shared/tls"
_ELLIPTIC = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2")


def _certificate(directory, name, *arguments):
    subprocess.run(["openssl", "req", "-x509", *_ELLIPTIC, "-keyout", directory / f"{name}-key.pem",
                    "-out", directory / f"{name}-cert.pem", *arguments], check=True, capture_output=True)


def _signed(directory, name, usage, subject):
    ours = ("-CA", directory / "ca-cert.pem", "-CAkey", directory / "ca-key.pem")
    _certificate(directory, name, *ours, "-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{subject}",
                 "-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"extendedKeyUsage={usage}",
                 "-addext", "keyUsage=critical,digitalSignature")


def _make(directory):
    directory.mkdir()
    _certificate(directory, "ca", "-subj", "/CN=authority", "-addext", "keyUsage=critical,keyCertSign")
    _signed(directory, "server", "serverAuth", NAME)
    _signed(directory, "client", "clientAuth", "source.test")
    (directory / "keys.psk").write_text(f"qemu:{secrets.token_hex(32)}\n")


def add_credentials(guest, kind, endpoint):
    """Gives a QEMU an object `tls0` of this kind (x509, psk) for its end: client or server."""
    made = guest.host.directory.parent / "tls"
    if not made.exists():
        _make(made)
    if not (guest.host.shared / "tls").exists():
        shutil.copytree(made, guest.host.shared / "tls")
        # A host's clock may be behind ours, and the certificates not valid yet
        guest.host.run("date", "-s", f"@{math.ceil(time.time())}")
    guest.qmp.execute("object-add", {"qom-type": f"tls-creds-{kind}", "id": "tls0", "dir": DIRECTORY,
                                     "endpoint": endpoint})
