# SPDX-License-Identifier: GPL-2.0-or-later
"""The kernel's selftests: those of our series, on kernels with and without it, and the kernel's own.

Each program is a test here; what it says of its own cases is in the remark or the reason. Ours have to
pass with the series, and to fail without it unless OTHERWISE_WITHOUT says why not. With --full, also on
debug kernels, and the kernel's own have to say the same on the stock and on the patched kernel.
"""

import functools
import re

from hwhosts import ktap, selftests
from hwhosts.base import PACKAGE, HarnessError, Settings
from hwhosts.runner import TESTS, Skip, Test, expect, expect_equal

SERIES = PACKAGE.parent.parent / "kernel-patches"

OTHERWISE_WITHOUT = {
    "kvm/pfnmap_hwpoison_test": ("skip", "the driver that it needs comes with the series"),
    "mm/uffd-copy-persist": ("pass", "no change is needed for that, and none must break it"),
    "mm/pinned-fork": ("pass", "fork keeps pinned pages as it is, and has to after our changes, too"),
    "mm/pfnmap-fork 6.12": ("pass", "6.12.118 splits a huge PUD itself"),
}
"""What those of ours say on a kernel without the series, or on that of one base, that do not fail there."""

NOT_ALONE = {
    "mm/pfnmap-fork": "vfio-pci is a module of Debian's kernel",
}
"""Those that cannot run with nothing but Debian's kernel; they are run on a stock kernel of ours."""

MAY_SKIP = {
    "mm/pagemap-poison": "guard region",  # 6.12 has none
}
"""By name: a pattern for the cases that cannot run in our hosts. Any other skip of ours is a failure."""

COUNTS = re.compile(r"Extra pages \d+ \([\d.]+%\), extra thread faults \d+")
"""What pagemap_ioctl counts, and puts into the name of a case; it depends on who is how fast."""

SLOWER = 5
"""How much more time a debug kernel gets."""


def files_of_series(base):
    """The C files below tools/testing/selftests that the series adds, without ".c"."""
    pattern = re.compile(r"^--- /dev/null\n\+\+\+ b/tools/testing/selftests/(.*)\.c$", re.MULTILINE)
    return {name for patch in (SERIES / base).glob("*.patch") for name in pattern.findall(patch.read_text(errors="replace"))}


def kernel(base, flavour=""):
    """The path of a kernel; flavour is "STOCK_" or "DEBUG_"."""
    return Settings().kernel_of(base, f"{flavour}KERNEL")


def ours(base):
    """Our programs: paths by name."""
    return selftests.programs(kernel(base))


def are_built(_world, base):
    """Each test of the series has become a program: none of the tests below is missing."""
    built = set(ours(base))
    expect(built, f"no selftest has come with the kernel {base}")
    expect_equal("selftests that are not there", files_of_series(base) - built, set())


# ---- ours, with the series ----------------------------------------------------------------------


def expect_good(report, name):
    """All cases have passed; those that cannot run here are named."""
    allowed = MAY_SKIP.get(name)
    unexpected = [case for case in report.named("skip") if not (allowed and re.search(allowed, case))]
    expect(not report.bad, f"{report.summary()}: {report.told('fail')} (status {report.status}); "
                           f"{report.output[-300:]}")
    expect(not unexpected, f"{report.summary()}; skipped: {report.told('skip')}")
    return report.summary() + (f": {report.told('skip')}" if report.named("skip") else "")


def one_of_ours(world, base, name, flavour="", slower=1):
    """One program on a kernel with the series."""
    machine = selftests.host(world, kernel(base, flavour), 120 * slower)
    return expect_good(selftests.run(machine, name, ours(base)[name], selftests.LIMIT * slower), name)


def on_debug(world, base, name):
    """The same on the debug kernel."""
    return one_of_ours(world, base, name, "DEBUG_", SLOWER)


# ---- ours, without the series -------------------------------------------------------------------


def without(report, name, base):
    """What is wrong with what one of ours says on a kernel without the series; None if nothing is."""
    usual = OTHERWISE_WITHOUT.get(name, ("fail", "the series is not there"))
    wanted, why = OTHERWISE_WITHOUT.get(f"{name} {base}", usual)
    if wanted == "skip":
        good = not report.named("pass") and not report.bad
    else:
        good = report.bad == (wanted == "fail")
    return None if good else (f"{name}: {report.summary()} ({report.told('fail')}), "
                              f"and it should {wanted}, as {why}")


def expect_without(reports, base):
    """None is wrong; a remark."""
    wrong = [found for name, report in reports.items() if (found := without(report, name, base))]
    expect(not wrong, "; ".join(wrong))
    return "; ".join(f"{name}: {report.summary()}" for name, report in reports.items())


def without_series(world, base):
    """On Debian's own kernel, which has none of our configuration either."""
    tests = {name: path for name, path in ours(base).items() if name not in NOT_ALONE}
    reports = selftests.run_alone(world, f"debian-{base}", kernel(base, "DEBIAN_"), tests)
    return expect_without(reports, base) + "".join(f"; not run: {name}, {why}" for name, why in NOT_ALONE.items())


def run_or_crash(world, base, name, path):
    """The report of one of ours on a stock kernel; some bring it down."""
    machine = selftests.host(world, kernel(base, "STOCK_"))
    try:
        report = selftests.run(machine, name, path)
        machine.new_offences()  # that a kernel without the fix has some is no news
        return report
    except HarnessError:
        if "Kernel panic" not in machine.serial_text():
            raise
        world.abandon()
        return ktap.Report(1, {"the kernel has crashed": "fail"}, {"the kernel has crashed": ""}, "")


def on_stock(world, base):
    """On a stock kernel with our configuration: what is in those hosts, and only the series missing."""
    return expect_without({name: run_or_crash(world, base, name, path) for name, path in ours(base).items()}, base)


# ---- the kernel's own ---------------------------------------------------------------------------


@functools.cache
def stock_results(world, base):
    """What the kernel's own tests say on the stock kernel: by name the report and the log's offences."""
    results = {}
    for name, path in selftests.programs(kernel(base, "STOCK_")).items():
        machine = selftests.host(world, kernel(base, "STOCK_"))
        try:
            results[name] = selftests.run(machine, name, path), machine.new_offences()
        except HarnessError as error:  # the host is gone, or the program did not end
            results[name] = None, str(error)
            world.abandon()
    return results


def verdicts(report):
    """What a report says, by names that are the same in each run."""
    return {COUNTS.sub("(counted)", case): verdict for case, verdict in report.verdicts.items()}


def same_as_stock(world, base, name):
    """One of the kernel's own says the same with the series."""
    stock, offences = stock_results(world, base)[name]
    if stock is None:
        raise Skip(f"it does not get to an end on the stock kernel: {offences}")
    machine = selftests.host(world, kernel(base))
    patched = selftests.run(machine, name, selftests.programs(kernel(base, "STOCK_"))[name])
    if offences:
        machine.new_offences()  # the stock kernel has some, too
    before, now = verdicts(stock), verdicts(patched)
    differ = [f"{case}: {before.get(case)}, now {now.get(case)} {patched.why.get(case, '')}"
              for case in {**before, **now} if before.get(case) != now.get(case)]
    expect(not differ, f"{len(differ)} cases differ from the stock kernel's: {'; '.join(differ[:8])}")
    expect_equal("status, and that on the stock kernel", patched.status, stock.status)
    return f"as stock: {patched.summary()}"


# ---- one test for each program ------------------------------------------------------------------


def add(title, depth, run, **arguments):
    """Adds a test that calls run(world, **arguments)."""
    TESTS.append(Test(f"selftests/{re.sub('[/_]', '-', title)}", depth, functools.partial(run, **arguments)))


def add_programs(prefix, depth, run, base, flavour=""):
    """Adds a test for each program that has come with a kernel. Where there is none, are_built fails, or it is
    one that only --full builds."""
    try:
        names = selftests.programs(kernel(base, flavour))
    except HarnessError:
        return
    for name in names:
        add(f"{prefix}{base}-{name}", depth, run, base=base, name=name)


# Those of a kernel follow each other, as each kernel has to boot.
for _series in sorted(SERIES.glob("*/series")):
    _base = _series.parent.name
    add(f"are-built-{_base}", "normal", are_built, base=_base)
    add(f"without-series-{_base}", "normal", without_series, base=_base)
    add_programs("", "normal", one_of_ours, _base)
    add(f"on-stock-{_base}", "full", on_stock, base=_base)
    add_programs("own-", "full", same_as_stock, _base, "STOCK_")
    add_programs("debug-", "full", on_debug, _base, "DEBUG_")
