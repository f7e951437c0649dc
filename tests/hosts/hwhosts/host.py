# SPDX-License-Identifier: GPL-2.0-or-later
"""A virtual host: QEMU without hardware acceleration, running our kernel with KVM inside.

Its root is this machine's own `/`, read-only by virtio-9p, with a tmpfs layered over it, so every program
of this machine is there under its own path, and nothing that happens in a host reaches this machine
but what is written to /shared. Process 1 is guest/host-agent.c.

A host dies with the process that started it, however that ends (PR_SET_PDEATHSIG).

Software emulation with a thread for each processor has a race of its own in QEMU: seldom, and mostly on a
busy machine while the buses are set up, the outer QEMU aborts (iotlb_to_section). That says nothing
about what is tested, so a boot that ends like that is tried again, and `emulator_crashed` tells.
"""

import contextlib
import ctypes
import dataclasses
import resource
import signal
import socket
import subprocess

from . import cpio, logrules
from .base import FIRMWARE, Deadline, HarnessError, Timeout
from .channel import Command, Connection, HostGone, SocketStream

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclasses.dataclass(frozen=True)
class Hardware:
    """What a machine is made of."""

    accelerator: str = "tcg,thread=multi"
    processors: int = 2
    memory: int = 3072  # MiB
    devices: tuple = ()  # arguments of QEMU
    options: str = ""  # of the kernel that make use of them

    def arguments(self):
        """Those of QEMU. TCG emulates AMD's SVM with nested paging, so that kvm_amd works inside."""
        return ["-accel", self.accelerator, "-smp", f"{self.processors}", "-cpu", "EPYC,svm=on,npt=on",
                "-m", f"{self.memory}", *self.devices]


PLAIN = Hardware()

BOOTS = 3
"""How often a boot is tried that ends with a crash of the emulator."""

KERNEL_OPTIONS = ("console=ttyS0 loglevel=3 printk.time=1 log_buf_len=4M panic=-1 oops=panic "
                  "no_timer_check tsc=reliable random.trust_cpu=on")


def _in_child():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # gigabytes, of no use to anyone


class Machine:
    """An outer QEMU process; knows nothing of what runs in it."""

    def __init__(self, settings, name, directory, hardware=PLAIN):
        self.settings = settings
        self.name = name
        self.hardware = hardware
        self.directory = directory / name
        self.directory.mkdir(parents=True, exist_ok=True)
        self.serial = self.directory / "serial.log"
        self.process = None

    def launch(self, arguments, descriptors=()):
        """Starts QEMU; the descriptors in `arguments` are handed on."""
        command = [str(self.settings.stock_qemu), "-nodefaults", "-no-user-config", "-no-reboot",
                   "-display", "none", *FIRMWARE, *self.hardware.arguments(),
                   "-serial", f"file:{self.serial}", *arguments]
        with open(self.directory / "qemu.log", "wb") as log:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=descriptors, start_new_session=True, preexec_fn=_in_child)

    def serial_text(self):
        """What has come out of its serial port."""
        return self.serial.read_text(errors="replace") if self.serial.exists() else ""

    def emulator_crashed(self):
        """Whether the outer QEMU itself has been ended by a signal that is not ours."""
        return self.process is not None and (self.process.poll() or 0) < 0

    def last_words(self):
        """The end of what it and its QEMU said, for an error message."""
        qemu = (self.directory / "qemu.log").read_text(errors="replace")
        lines = (qemu + self.serial_text()).strip().splitlines()[-8:]
        return "\n".join(lines) or "(it said nothing)"

    def stop(self):
        """Ends it; does nothing if it has ended."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None


class Host(Machine):
    """A virtual host; `address` is its own in a network with others."""

    def __init__(self, settings, name, directory, address=None, hardware=PLAIN):
        super().__init__(settings, name, directory, hardware)
        self.address = address
        self._connection = None
        self._log_seen = 0
        self.release = None
        self.shared = self.directory / "shared"
        self.shared.mkdir(exist_ok=True)

    @property
    def _mac(self):
        return f"52:54:00:00:00:{int(self.address.rsplit('.', 1)[1]):02x}"

    def _devices(self, port, network):
        devices = [
            "-fsdev", "local,id=root,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=root,mount_tag=root",
            "-fsdev", f"local,id=shared,path={self.shared},security_model=none",
            "-device", "virtio-9p-pci,fsdev=shared,mount_tag=shared",
            "-device", "virtio-serial-pci",
            "-chardev", f"socket,id=agent,fd={port}",
            "-device", "virtserialport,chardev=agent,name=hwp.agent,nr=1",
        ]
        if network:
            devices += [
                "-netdev", f"socket,id=net,fd={network.fileno()}",
                "-device", f"virtio-net-pci,netdev=net,mac={self._mac},romfile=",
            ]
        return devices

    def start(self, network=None):
        """Starts the machine; `wait_ready` waits until it has booted. `network` is a socket that is
        connected to the other host's; it is closed here."""
        ours, theirs = socket.socketpair()
        options = f"{KERNEL_OPTIONS} {self.hardware.options} hwp.name={self.name}"
        descriptors = [theirs.fileno()]
        if network:
            options += f" hwp.address={self.address}"
            descriptors.append(network.fileno())
        boot = ["-kernel", str(self.settings.kernel), "-append", options, "-initrd",
                str(cpio.initramfs(self.settings.guest_program("host-agent"), self.settings.cache))]
        self.launch(self._devices(theirs.fileno(), network) + boot, descriptors)
        theirs.close()
        if network:
            network.close()
        self._connection = Connection(ours, self.name)
        self._log_seen = 0

    def wait_ready(self, limit=90):
        """Waits until commands can be run."""
        try:
            self.release = self._connection.wait_ready(limit)
        except (HostGone, Timeout) as error:
            raise HarnessError(f"{error}; its last words:\n{self.last_words()}") from error
        return self

    def boot(self, limit=120):
        """Starts the machine and waits until commands can be run; for a host without another."""
        for attempt in range(BOOTS):
            self.start()
            try:
                return self.wait_ready(limit)
            except HarnessError:
                if not self.emulator_crashed() or attempt == BOOTS - 1:
                    raise
                self.stop()
        raise AssertionError("not reached")

    def spawn(self, *arguments):
        """Starts a command; returns the Command."""
        return Command(self._connection, [str(argument) for argument in arguments])

    def run(self, *arguments, limit=60, stdin=None, check=True):
        """Runs a command to its end; returns its Result. With `check`, a failure raises."""
        command = self.spawn(*arguments)
        if stdin is not None:
            command.write(stdin)
        command.end_input()
        try:
            result = command.wait(limit)
        except Timeout:
            command.kill()
            raise
        if check and result.status != 0:
            raise HarnessError(f"host {self.name}: {command.what}: status {result.status}: "
                               f"{(result.stderr or result.stdout).strip()[-600:]}")
        return result

    def shell(self, script, **options):
        """Runs a line of shell; returns its standard output."""
        return self.run("/bin/sh", "-c", script, **options).stdout

    def use_huge_pages(self, mode):
        """Sets the mode of transparent huge pages ("always", "madvise", "never"); returns what it was."""
        path = "/sys/kernel/mm/transparent_hugepage/enabled"
        before = self.run("cat", path).stdout.partition("[")[2].partition("]")[0]
        self.shell(f"echo {mode} >{path}")
        return before

    def leave_network(self, other):
        """From here on, who connects to this host from the other gets no answer, and tries again."""
        other.run("ip", "neighbour", "replace", self.address, "lladdr", self._mac, "dev", "eth0", "nud", "permanent")
        self.run("ip", "-4", "address", "flush", "dev", "eth0")

    def return_to_network(self):
        """Ends that."""
        self.run("ip", "address", "add", f"{self.address}/8", "dev", "eth0")

    def connect(self, path):
        """Connects to a Unix socket in the host."""
        return SocketStream(self._connection, path)

    def kernel_log(self):
        """The whole kernel log."""
        return self.run("dmesg").stdout

    def new_offences(self):
        """Lines of the kernel log that break a rule and that no earlier call has returned."""
        lines = self.kernel_log().splitlines()
        new, self._log_seen = lines[self._log_seen:], len(lines)
        return [f"host {self.name}: {line}" for line in logrules.offences("\n".join(new))]

    def emulator_crashed(self):
        """The same, in time: see the comment."""
        if self.process and self._connection.gone:
            # Its end of the port is closed a moment before it can be waited for.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
        return super().emulator_crashed()

    def stop(self):
        """Ends the machine; keeps its kernel log beside the serial log."""
        if self.process and self.release:
            try:
                (self.directory / "kernel.log").write_text(self.kernel_log())
            except HarnessError:
                pass  # it has crashed: what it said last is in the serial log
        super().stop()
        if self._connection:
            self._connection.close()
            self._connection = None


class Pair:
    """Two hosts, a and b, on a network of their own."""

    def __init__(self, settings, directory, hardware=PLAIN):
        self.directory = directory
        self.a = Host(settings, "a", directory, "10.77.0.1", hardware)
        self.b = Host(settings, "b", directory, "10.77.0.2", hardware)

    def boot(self, limit=120):
        """Boots both, side by side, and waits until they can run commands."""
        for attempt in range(BOOTS):
            for host, network in zip(self.hosts, socket.socketpair()):
                host.start(network)
            try:
                both = Deadline(limit)
                for host in self.hosts:
                    host.wait_ready(both)
                return self
            except HarnessError:
                crashed = any(host.emulator_crashed() for host in self.hosts)
                if not crashed or attempt == BOOTS - 1:
                    raise
                self.stop()
        raise AssertionError("not reached")

    @property
    def hosts(self):
        """Both."""
        return (self.a, self.b)

    def other(self, host):
        """The one that `host` is not."""
        return self.b if host is self.a else self.a

    def stop(self):
        """Ends both."""
        for host in self.hosts:
            host.stop()


class ConsoleMachine(Machine):
    """A machine that boots any kernel with one program as its whole system, which prints on the
    console and powers off."""

    _again = None  # starts it once more, as it was

    def start(self, kernel, program, arguments=(), files=()):
        """Boots `kernel` with the static file `program` as /init, beside `files` (see cpio.py)."""
        self._again = lambda: self.start(kernel, program, arguments, files)
        options = ("console=ttyS0 loglevel=3 panic=-1 mitigations=off "
                   f"{self.hardware.options} -- {' '.join(arguments)}")
        self.launch(["-kernel", str(kernel), "-append", options, "-initrd",
                     str(cpio.initramfs(program, self.settings.cache, files))])

    def wait_off(self, limit):
        """Waits until it has powered off; returns what it printed."""
        for attempt in range(BOOTS):
            try:
                self.process.wait(Deadline(limit).seconds)
            except subprocess.TimeoutExpired:
                raise Timeout(f"machine {self.name} did not power off in {limit} s; its last words:\n"
                              f"{self.last_words()}") from None
            if self.emulator_crashed() and attempt < BOOTS - 1:
                self._again()
            else:
                break
        return self.serial_text()
