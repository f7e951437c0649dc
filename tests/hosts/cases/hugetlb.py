# SPDX-License-Identifier: GPL-2.0-or-later
"""4 KiB of poison to a host where the guest has huge pages.

With split-hugetlb=on, the huge page around the poison is replaced by base pages with the same content, so that the guest
loses these 4 KiB and nothing else, there and on every host that it goes to later. With widen=on it loses the huge page.
Without either it does not get there.
"""

import collections

from cases.precopy import expect_poisoned
from cases.refused import expect_untouched
from hwhosts import ktap, poison
from hwhosts.memory import KINDS, SIZE
from hwhosts.migrate import Migration
from hwhosts.guest import quit_politely
from hwhosts.runner import TestFailure, expect, expect_equal, test

SHARED, WIDENED = "hugetlb 2M", "hugetlb 2M, widen"
PRIVATE = "hugetlb 2M private split"
POOL = "/sys/kernel/mm/hugepages/hugepages-2048kB"
PAGES = (0, 100, 101, 5000, 5001, 9000)


def spare_huge_pages(host):
    """How many of a host's huge pages nobody uses, or has reserved."""
    free, reserved = host.shell(f"cd {POOL} && cat free_hugepages resv_hugepages").split()
    return int(free) - int(reserved)


def prepare(world):
    """Huge pages for one guest in each host."""
    for host in (world.pair.a, world.pair.b):
        host.shell(f"echo {SIZE // 2} >/proc/sys/vm/nr_hugepages")
        expect_equal("spare huge pages", spare_huge_pages(host), SIZE // 2)


def options(kind):
    """Options of a guest with this memory."""
    return {"memory": SIZE, "extra": KINDS[kind].arguments("vm1"), "agent_options": KINDS[kind].agent_options}


def start(world, kind="anonymous"):
    """A guest with this memory, poisoned; returns it and the addresses."""
    prepare(world)
    guest = world.guest(world.pair.a, **options(kind)).wait_ready()
    addresses = sorted(guest.ask_pages("gpa", PAGES)["gpa"])
    poison.inject(guest, addresses)
    return guest, addresses


def hop(world, guest, kind, **more):
    """Moves a guest to memory of this kind in the other host."""
    guest, _ = world.hop(guest, destination_options=options(kind), **more)
    return guest


def expect_exactly(guest, addresses, touched=True):
    """The guest has this poison, in QEMU's set and in memory, and everything else as it was."""
    expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
    expect_poisoned(guest.check(), addresses, touched)


def huge_pages_of(addresses):
    """How many huge pages these pages are in; the guest's memory begins at a border of them."""
    return len({address >> 21 for address in addresses})


def beside(guest, addresses):
    """Two pages of the guest that are good, each in a huge page with one of these."""
    split_ones = {address >> 21 for address in addresses}
    pages = guest.ask_pages("gpa", range(1000))["gpa"]
    return [page for page in pages if page >> 21 in split_ones and page not in addresses][:2]


@test()
def split(world):
    """Only these 4 KiB are poisoned, and only their huge pages are given up."""
    guest, addresses = start(world)
    guest = hop(world, guest, PRIVATE)
    expect_exactly(guest, addresses)
    expect_equal("pages in the inventory of b's agent", world.agent(world.pair.b).pages_of(guest.name), addresses)
    expect_equal("huge pages given up", spare_huge_pages(world.pair.b), huge_pages_of(addresses))


@test()
def reset_heals(world):
    """A reset heals the pages, and nothing is carried by the next hop."""
    guest, _ = start(world)
    guest = hop(world, guest, PRIVATE)
    guest.reset()
    expect_exactly(guest, [])
    guest = hop(world, guest, PRIVATE)
    expect_exactly(guest, [])


@test()
def and_on(world):
    """To huge pages of the next host, from there to base pages, and back to huge ones."""
    guest, addresses = start(world)
    for kind in (PRIVATE, PRIVATE, "anonymous", PRIVATE):
        guest = hop(world, guest, kind)
        expect_equal("poison set", poison.pages(poison.reported(guest)), addresses)
    expect_exactly(guest, addresses)


@test("full")
def multifd(world):
    """With the pages on other channels than the list, and a guest that writes all the while."""
    guest, addresses = start(world)
    guest.ask_pages("dirty start", PAGES)
    guest = hop(world, guest, PRIVATE, capabilities=("hwpoison", "return-path", "multifd"),
                parameters={"downtime-limit": 2000, "multifd-channels": 2})
    expect(guest.ask("dirty stop")["rounds"] > 0, "the guest rewrote nothing")
    expect_exactly(guest, addresses)


@test()
def lost_later(world):
    """The host loses a base page of a page that has been split: again, only these 4 KiB."""
    guest, addresses = start(world)
    guest = hop(world, guest, PRIVATE)
    late = beside(guest, addresses)
    poison.inject(guest, late)
    addresses = sorted(addresses + late)
    # By now the guest's kernel may have been told, or have looked
    expect_exactly(guest, addresses, touched=False)
    guest = hop(world, guest, PRIVATE)
    expect_exactly(guest, addresses, touched=False)


@test("full")
def background_snapshot(world):
    """A snapshot of a guest with pages that have been split, healed, and written to again."""
    guest, addresses = start(world)
    guest = hop(world, guest, PRIVATE)
    guest.qmp.execute("migrate-set-capabilities", {"capabilities": [
        {"capability": "return-path", "state": False}]})
    file = "file:/root/snapshot"
    Migration(guest, None, ("hwpoison", "background-snapshot"), file, {}).start()
    guest.qmp.wait_event("MIGRATION", lambda data: data["status"] == "completed", 60)
    quit_politely(guest)
    restored = world.guest(guest.host, incoming=True, **options("anonymous"))
    Migration(guest, restored, (), file, {}).listen()
    restored.qmp.wait_event("MIGRATION", lambda data: data["status"] == "completed", 60)
    restored.wait_running()
    expect_exactly(restored, addresses)


def own_huge_page(guest):
    """The addresses of a huge page that the guest's pattern has for itself: its kernel could not lose one of its own."""
    pages = collections.defaultdict(list)
    for first in range(0, guest.ask("hello")["pages"], 1024):
        for address in guest.ask_pages("gpa", range(first, first + 1024))["gpa"]:
            pages[address >> 21].append(address)
    for page in pages.values():
        if len(page) == 512:
            return sorted(page)
    raise TestFailure("the pattern is in no huge page as a whole")


@test()
def widen(world):
    """The guest loses all of the huge page and nothing else, and has lost it on the next host, until it is reset."""
    prepare(world)
    guest = world.guest(world.pair.a, **options("anonymous")).wait_ready()
    lost = own_huge_page(guest)
    poison.inject(guest, [lost[100], lost[300]])
    guest = hop(world, guest, WIDENED)
    expect_equal("bytes of poison that the destination told of",
                 [event["total-length"] for event in guest.qmp.take_events("MEMORY_POISON_RESTORED")], [2 << 20])
    expect_equal("pages in the inventory of b's agent", world.agent(world.pair.b).pages_of(guest.name), lost)
    guest.qmp.take_events("MEMORY_FAILURE")
    expect_exactly(guest, lost)
    expect_equal("addresses of the machine checks put into the guest",
                 sorted(event["guest-address"] for event in guest.qmp.take_events("MEMORY_FAILURE")), lost)
    guest = hop(world, guest, "anonymous")
    expect_exactly(guest, lost, touched=False)
    guest.reset()
    expect_exactly(guest, [])


@test()
def not_widened(world):
    """Without either option the guest stays where it is, and the error says why."""
    guest, addresses = start(world)
    destination = world.destination(guest, **options(SHARED))
    move = Migration(guest, destination)
    move.listen()
    move.start()
    reason = move.expect_failure()
    expect("of RAM block 'pc.ram' is not a multiple of its page size here (2 MiB): good memory would be lost with it"
           in reason, reason)
    expect(destination.wait_end() != 0, "the destination ended as if all were well")
    expect("'widen=on'" in destination.qemu_log(), destination.qemu_log()[-300:])
    expect_untouched(guest, addresses, PAGES)


# ---- QEMU's own tests: the cases that ./check qtest skips on a machine without huge pages ----------------

def qtest(world, program, cases, *options):
    """These cases of a test program, by the start of their names, pass, and none is skipped. Without KVM, as there."""
    prepare(world)
    build = world.settings.path("PATCHED_QEMU_BUILD")
    result = world.pair.a.run(
        "unshare", "--mount", "/bin/sh", "-c", 'mount --bind /dev/null /dev/kvm && cd "$1" && shift && exec "$@"', "sh",
        build, "env", f"QTEST_QEMU_BINARY={build}/qemu-system-x86_64", f"{build}/tests/qtest/{program}", *options, "--tap", "-k",
        *(word for case in cases for word in ("-p", case)), limit=900, check=False)
    report = ktap.report(result.stdout, result.status)
    expect(not report.bad, f"{report.told('fail')}; status {report.status}: {result.stderr[-300:]}")
    expect_equal("cases that were skipped", report.told("skip"), "")
    missing = [case for case in cases if not any(name.startswith(case) for name in report.verdicts)]
    expect_equal("cases that there are not", missing, [])
    return report.summary()


@test("full")
def qtest_split(world):
    """All cases of ram-poison-split-test, which look at each page of the guest."""
    return qtest(world, "ram-poison-split-test", ["/x86_64/ram-poison-split"])


@test()
def qtest_inject(world):
    """Poison in huge pages."""
    return qtest(world, "ram-poison-test", ["/x86_64/ram-poison/inject/hugetlb",
                                            "/x86_64/ram-poison/snapshot/widen"])


@test()
def qtest_migration(world):
    """Migrations with huge pages at one end or both."""
    return qtest(world, "migration-test", [f"/x86_64/migration/hwpoison/{name}" for name in (
        "split", "postcopy/late/hugetlb", "postcopy/late/hugetlb-preempt", "memory/hugetlb", "memory/page-size",
        "widen/hops", "widen/or-split", "widen/file", "widen/agent", "widen/off", "widen/postcopy",
        "widen/postcopy-whole")], "--full")
