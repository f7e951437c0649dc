# SPDX-License-Identifier: GPL-2.0-or-later
"""The harness itself: what these tests rely on must be seen to work, and to fail."""

from hwhosts import ktap, logrules
from hwhosts.runner import expect, expect_equal, test

MISTAKES = [
    "WARNING: CPU: 0 PID: 1 at mm/memory.c:100 do_something+0x10/0x20",
    "BUG: kernel NULL pointer dereference, address: 0000000000000000",
    "BUG: KASAN: slab-use-after-free in do_something+0x10/0x20",
    "kernel BUG at mm/memory.c:100!",
    "Oops: general protection fault, probably for non-canonical address 0x1: 0000 [#1] SMP",
    "WARNING: possible circular locking dependency detected",
    "INFO: task qemu:100 blocked for more than 120 seconds.",
    "rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:",
    "BUG: Bad page state in process qemu  pfn:1234",
    "watchdog: BUG: soft lockup - CPU#1 stuck for 22s!",
]

EXPECTED = [
    "Memory failure: 0x86e7: Sending SIGBUS to qemu-system-x86:45 due to hardware memory corruption",
    "Memory failure: 0x86e7: recovery action for dirty LRU page: Recovered",
    "MCE: Killing poison-toucher:99 due to hardware memory corruption fault at 7f0000000000",
    "mce: Uncorrected hardware memory error in user-access at 1ee7000",
    "Kernel command line: console=ttyS0 oops=panic",
    "rcu: \tRCU lockdep checking is enabled.",
]


@test("quick")
def log_rules(world):
    """Each kind of kernel mistake is found in a real host's log, and what tests cause is not."""
    host = world.pair.a
    host.new_offences()
    for line in EXPECTED + MISTAKES:
        host.run("/bin/sh", "-c", 'echo "$1" >/dev/kmsg', "sh", line)
    found = host.new_offences()
    expect_equal("lines found", [line.split("] ", 1)[1] for line in found], MISTAKES)
    expect_equal("lines found again", host.new_offences(), [])
    expect_equal("lines that say MCE", logrules.count_mce_lines(host.kernel_log()), 1)


@test("quick")
def commands(world):
    """Commands in a host: status, both outputs, input, signals, and more output than a buffer."""
    host = world.pair.b
    result = host.run("/bin/sh", "-c", "cat; echo error >&2; exit 7", stdin="text\n", check=False)
    expect_equal("result", (result.status, result.stdout, result.stderr), (7, "text\n", "error\n"))
    expect_equal("bytes", len(host.shell("head -c 3000000 /dev/zero")), 3000000)
    sleeper = host.spawn("cat")
    sleeper.pid()
    sleeper.kill(15)
    expect_equal("status after SIGTERM", sleeper.wait(20).status, 128 + 15)
    expect_equal("no such program", host.run("/no/such", check=False).status, 127)


@test("quick")
def network(world):
    """The hosts reach each other."""
    server = world.spawn(world.pair.b, "python3", "-c", (
        "import socket; s = socket.create_server(('', 4300)); print('up', flush=True);"
        "c = s.accept()[0]; c.sendall(b'hello'); c.close()"))
    expect_equal("server", server.read_line(30), "up")
    answer = world.pair.a.run("python3", "-c", (
        f"import socket; print(socket.create_connection(('{world.pair.b.address}', 4300), 20).recv(9))"))
    expect("hello" in answer.stdout, answer.stdout)


KTAP = """TAP version 13
1..5
# Run test: collapse (khugepaged:anon)
ok 1 collapse
ok 2 - collapse
not ok 3 a lost page # 3 of 4
ok 4 # SKIP fork on hugetlb (no huge pages)
ok 5 guard # SKIP no guard regions
# Totals: pass:2 fail:1 xfail:0 xpass:0 skip:2 error:0
"""


@test("quick")
def selftest_results(world):  # pylint: disable=unused-argument
    """What a selftest says is read right; in particular nothing that went wrong looks like a pass."""
    report = ktap.report(KTAP, 1)
    expect_equal("verdicts", report.verdicts, {
        "collapse": "pass", "collapse #2": "pass", "a lost page": "fail",
        "fork on hugetlb (no huge pages)": "skip", "guard": "skip"})
    expect_equal("reasons", report.told("skip"), "fork on hugetlb (no huge pages); guard (no guard regions)")
    for text, status, bad, verdict in (("1..1\nok 1 all\n", 0, False, "pass"),
                                       ("1..0 # SKIP no userfaultfd\n", 4, False, "skip"),
                                       ("works\n", 0, False, "pass"), ("", 1, True, "fail"),
                                       ("no /dev/kvm\n", 4, False, "skip")):
        report = ktap.report(text, status)
        expect_equal(f"{text!r}: bad", report.bad, bad)
        expect_equal(f"{text!r}: verdicts", set(report.verdicts.values()), {verdict})
    early = ktap.report("1..2\nok 1 first\n", 0)
    expect_equal("verdicts of one that ended early", early.verdicts, {"first": "pass", "the rest": "fail"})
    expect_equal("one that crashed is bad", ktap.report("1..1\nok 1 all\n", 139).bad, True)
