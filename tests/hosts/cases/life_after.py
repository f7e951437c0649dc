# SPDX-License-Identifier: GPL-2.0-or-later
"""What becomes of a bad page, and of those who touch it: the same whether the host has lost it (host poison) or
has got it with the guest (emulated poison).

Each test does the same to two guests: one whose page has gone bad on its host, and one that has come with it.
"""

import errno
import re
import signal

from cases.precopy import expect_poisoned
from hwhosts import poison
from hwhosts.base import Deadline
from hwhosts.guest import GUEST_OPTIONS, quit_politely
from hwhosts.memory import KINDS
from hwhosts.modes import MODES
from hwhosts.runner import expect_equal, test
from hwhosts.vhost_user import DEVICE, DISK, serve

TAP = "tap0"
PEER = "52:54:00:00:99:02"  # its address, to which the guest sends
TOUCHED = {"disk-write": 200, "disk-read": 300, "copy-in": 400, "user": 500}
"""A page for each way to touch one."""
GOOD = 50  # one that is not bad
TIMERS = ["-append", f"{GUEST_OPTIONS} lapic=notscdeadline"]
"""For a guest that has to wait for something: with TSC deadlines a second can take a minute here, in the nested guest of
an emulated machine."""


def drive(backend):
    """QEMU's arguments for a disk that tells the guest of errors."""
    return ["-blockdev", f"{backend},node-name=disk",
            "-device", "virtio-blk-pci,drive=disk,werror=report,rerror=report"]


CARD = ["-netdev", f"tap,id=net,ifname={TAP},script=no,downscript=no,vhost=on",
        "-device", "virtio-net-pci,netdev=net,romfile="]


def side_by_side(world, pages, live, wanted, **options):
    """`live` does something to a guest with these bad pages, and returns what came out: `wanted`, with both kinds of
    poison."""
    guest, addresses = world.poisoned_guest(world.pair.a, pages, **options)
    with_host_poison = live(guest, addresses)
    guest.stop()
    guest, addresses = world.poisoned_guest(world.pair.a, pages, **options)
    guest, _ = world.hop(guest)
    with_emulated_poison = live(guest, addresses)
    expect_equal("with emulated poison, as against host poison", with_emulated_poison, with_host_poison)
    expect_equal("with both", with_emulated_poison, wanted)


def error_of(guest, command):
    """What a touch comes to: the name of an error, or "done"."""
    answer = guest.ask(command)
    return errno.errorcode[answer["error"]] if answer["result"] < 0 else "done"


@test()
def touches(world):
    """By a disk that QEMU emulates, by the guest's kernel, and by a program."""
    for host in world.pair.hosts:
        host.run("truncate", "-s", "1M", DISK)

    def live(guest, addresses):
        outcome = {}
        for way in ("disk-write", "disk-read", "copy-in"):
            outcome["good, " + way] = error_of(guest, f"{way} {GOOD}")
            outcome[way] = error_of(guest, f"{way} {TOUCHED[way]}")
        check = guest.ask_pages("check-only", [TOUCHED["user"]])
        outcome["user"] = [(page["si_code"], page["known"]) for page in check["sigbus"]]
        outcome["known"] = guest.ask_pages("known", TOUCHED.values())["known"]
        # Each page was bad before it was touched, and stays so.
        expect_poisoned(guest.check(), addresses, touched=False)
        expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
        return outcome

    side_by_side(world, TOUCHED.values(), live, {
        "good, disk-write": "done", "disk-write": "EIO", "good, disk-read": "done", "disk-read": "EIO",
        "good, copy-in": "done", "copy-in": "EFAULT",
        "user": [("BUS_MCEERR_AR", False)], "known": [TOUCHED["copy-in"], TOUCHED["user"]],
    }, extra=drive(f"driver=file,filename={DISK}"))


def arrived(host):
    """How many datagrams have come to this host for which it has no use."""
    return int(host.shell("awk '/^Udp:/ { count = $3 } END { print count }' /proc/net/snmp"))


def worked(guest):
    """For how long the host's kernel has worked for the card, in ticks of 10 ms."""
    return int(guest.host.shell(f"awk '$2 ~ /^.vhost/ {{ print $14 + $15 }}' /proc/{guest.process.pid()}/task/*/stat"))


def datagram(guest, page):
    """What comes of sending a page, which the guest hears of only if all is well."""
    before, began, limit = arrived(guest.host), worked(guest), Deadline(60)
    while worked(guest) < began + 100:
        # Again and again: the guest drops what it sends before its card is up
        expect_equal("net-send", error_of(guest, f"net-send {page}"), "done")
        if arrived(guest.host) > before:
            return "arrives"
        limit.left("a datagram")
    return "is tried for ever"


@test("full")
def vhost_net(world):
    """The host's kernel reads the page for the guest's network card. It gets an error, and tries again for ever: the
    card sends no more, and the guest goes on."""
    for host in world.pair.hosts:
        host.shell(f"ip link show {TAP} >/dev/null 2>&1 || ip tuntap add dev {TAP} mode tap;"
                   f"ip link set {TAP} address {PEER} up; ip address replace 10.99.0.2/24 dev {TAP}")

    def live(guest, addresses):
        outcome = [datagram(guest, page) for page in (GOOD, 100, GOOD)]
        expect_poisoned(guest.check(), addresses)
        return outcome

    side_by_side(world, [100], live, ["arrives", "is tried for ever", "is tried for ever"], extra=CARD)


SERVED = [*KINDS["memfd"].arguments("vm1"), *DEVICE, *TIMERS]


def dma(guest, addresses):
    """What comes of writing a good page to the disk, reading it back, reading to a bad page, and writing that to the disk."""
    work = (("disk-write", GOOD), ("disk-read", GOOD), *((way, TOUCHED[way]) for way in ("disk-read", "disk-write")))
    outcome = [error_of(guest, f"{way} {page}") for way, page in work]
    expect_poisoned(guest.check(), addresses)
    zeros = guest.host.shell(f"head -c 4096 {DISK} | tr -d '\\0' | wc -c") == "0\n"
    return [*outcome, "zeros on the disk" if zeros else "the disk is as it was"]


@test("full")
def vhost_user(world):
    """A backend in a process of its own works on the page for the guest's disk. That process has page tables of its own: it
    does not see emulated poison, and puts zeros on the disk, of which QEMU warns. With a userfaultfd of the backend, which
    comes with postcopy, it gets an error as with host poison."""
    def poisoned():
        serve(world, world.pair.a)
        return world.poisoned_guest(world.pair.a, (TOUCHED["disk-read"], TOUCHED["disk-write"]), extra=SERVED)

    def moved(mode):
        guest, addresses = poisoned()
        serve(world, world.pair.b)
        destination = world.destination(guest)
        mode.move(mode, guest, lambda: destination, None, None).run()
        quit_politely(guest)
        event = destination.qmp.wait_event("MEMORY_POISON_RESTORED")
        outcome = dma(destination, addresses)
        destination.stop()
        return outcome, event.get("vhost-user-unreached")

    guest, addresses = poisoned()
    with_host_poison = dma(guest, addresses)
    guest.stop()
    lost = ["done", "done", "EIO", "EIO", "the disk is as it was"]
    expect_equal("with host poison", with_host_poison, lost)
    expect_equal("with poison that the backend does not see, and the warning", moved(MODES["precopy"]),
                 (["done", "done", "done", "done", "zeros on the disk"], ["disk"]))
    expect_equal("with poison that it sees, and the warning", moved(MODES["postcopy"]), (lost, None))


def last_words(guest):
    """What the guest's kernel said when it gave up. The log is not for the harness, which would take it for an
    accident."""
    words = re.findall(r"CPU 0: Machine Check Exception:.*|Machine check: .*|Kernel panic - .*", guest.serial_text())
    guest.stop()
    guest.host.run("rm", f"/shared/{guest.name}.serial.log")
    return [line.strip() for line in words]


@test("full")
def kernel_cannot_recover(world):
    """The guest's kernel reads the page for itself, where it can do nothing but give up."""
    def live(guest, _):
        expect_equal("console", guest.ask("console 1")["error"], 0)
        guest.tell("copy-mapped 100")
        guest.wait_end(60)
        return last_words(guest)

    side_by_side(world, [100], live, [
        "CPU 0: Machine Check Exception: 7 Bank 9: fc00080000000000",
        "Machine check: Uncorrected unrecoverable error in kernel context",
        "Kernel panic - not syncing: Fatal local machine check",
    ], extra=["-append", f"{GUEST_OPTIONS} panic=-1", "-no-reboot"])


@test("full")
def qemu_touches(world):
    """QEMU itself touches the page for a device (a disk of zeros, which it fills in): it dies, as it does without us."""
    extra = drive("driver=null-co,read-zeroes=on,size=1048576")

    def live(guest, _):
        expect_equal("good page", error_of(guest, f"disk-read {GOOD}"), "done")
        guest.tell("disk-read 100")
        return guest.wait_end(60)

    killed = 128 + signal.SIGBUS
    stock, _ = world.poisoned_guest(world.pair.a, [100], qemu=world.settings.stock_qemu, agent=None, extra=extra)
    expect_equal("exit status of stock QEMU", live(stock, None), killed)
    side_by_side(world, [100], live, killed, extra=extra)


@test("full")
def taken_out_of_use(world):
    """The guest's kernel learns that a page is bad, and takes it out of use: the program gets another for it. The bad
    one stays bad, and is carried on."""
    def live(guest, addresses):
        guest.ask_pages("check-only", [100])
        result = error_of(guest, "free 100"), error_of(guest, "fill 100")
        expect_poisoned(guest.check(), [])
        guest, _ = world.hop(guest)
        expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
        expect_poisoned(guest.check(), [])
        guest.stop()
        return result

    side_by_side(world, [100], live, ("done", "done"))


@test("full")
def healed_by_reset(world):
    """A reset gives the guest good memory, and the next migration carries nothing."""
    def live(guest, _):
        guest.reset()
        expect_poisoned(guest.check(), [])
        result = poison.reported(guest)
        guest, _ = world.hop(guest)
        expect_poisoned(guest.check(), [])
        result += poison.reported(guest)
        guest.stop()
        return result

    side_by_side(world, [100, 101, 9000], live, [])


def given_back(world, give, device):
    """The guest has 16 MiB of which it does not know that a page is bad, frees them, has them given to QEMU by
    `give(guest)`, and takes them again: they are good, and the next migration carries nothing."""
    def live(guest, _):
        expect_equal("free", error_of(guest, "free 4000 4096"), "done")
        give(guest)
        expect_equal("fill", error_of(guest, "fill 4000 4096"), "done")
        expect_poisoned(guest.check(), [])
        guest, _ = world.hop(guest)
        expect_poisoned(guest.check(), [])
        result = poison.reported(guest)
        guest.stop()
        return result

    side_by_side(world, [6000], live, [], extra=["-device", device, *TIMERS])


@test("full")
def healed_by_free_page_reporting(world):
    """It tells QEMU of free memory by itself, after a while."""
    def give(guest):
        limit = Deadline(120)
        while poison.reported(guest):
            limit.left("free page reporting")

    given_back(world, give, "virtio-balloon-pci,free-page-reporting=on")


@test("full")
def healed_by_the_balloon(world):
    """It is asked for all that it has."""
    def give(guest):
        size = guest.memory << 20
        guest.qmp.execute("balloon", {"value": size // 4})
        while poison.reported(guest):
            guest.qmp.wait_event("BALLOON_CHANGE", limit=60)
        guest.qmp.execute("balloon", {"value": size})
        guest.qmp.wait_event("BALLOON_CHANGE", lambda data: data["actual"] == size, limit=60)

    # The page comes among the last that the guest has free, and without memory it would panic.
    given_back(world, give, "virtio-balloon-pci,deflate-on-oom=on")
