# SPDX-License-Identifier: GPL-2.0-or-later
"""The demo: one bad page's way from a real memory error to the other host, told step by step.

Everything that is printed and returned was measured in this run. A step that does not go as it must
ends the story with a HarnessError that says what was wrong.

What can go side by side does: the machine with Debian's kernel runs while the hosts boot, and stock
QEMU's guest boots beside ours.
"""

import contextlib
import json
import os
import random
import time

from . import logrules, poison
from .agent import Agent
from .base import HarnessError
from .guest import Guest
from .host import ConsoleMachine, Pair
from .migrate import Migration
from .qmp import QmpError

TOUCHES = 1000
STOCK_REFUSAL = "Can't migrate this vm with hardware poisoned memory"


class Teller:
    """Prints the story; `out` is stderr when stdout is for JSON."""

    def __init__(self, out):
        self.out = out
        self.start = float(os.environ.get("HWP_STARTED", time.time()))

    def elapsed(self):
        """Seconds since ./demo was started."""
        return time.time() - self.start

    def say(self, text):
        """A line that is no step."""
        print(text, file=self.out, flush=True)

    def chapter(self, text):
        """A heading."""
        self.say(f"\n{text}")

    @contextlib.contextmanager
    def step(self, text):
        """A step: its text, and when it is done its time; the block's list gets the findings."""
        began = time.time()
        print(f"  {text} ...", end="", file=self.out, flush=True)
        findings = []
        yield findings
        print(f" {time.time() - began:.1f} s", file=self.out, flush=True)
        for finding in findings:
            self.say(f"      {finding}")


def need(condition, message):
    """Ends the story unless `condition` is true."""
    if not condition:
        raise HarnessError(message)


def some(addresses):
    """A list of addresses for people."""
    shown = ", ".join(f"0x{address:x}" for address in addresses[:4])
    return shown + (f", and {len(addresses) - 4} more" if len(addresses) > 4 else "")


class Story:
    """The machines of the demo, and what has been found so far (`result`, which becomes the JSON)."""

    def __init__(self, settings, teller, directory, pages):
        self.settings = settings
        self.teller = teller
        self.pair = Pair(settings, directory)
        self.debian = ConsoleMachine(settings, "debian", directory)
        self.pages = sorted(random.Random(pages).sample(range(16384), pages))
        self.guest = self.stock = None
        self.agents = []
        self.addresses = []
        self.result = {}

    # ---- the chapters -------------------------------------------------------------------------

    def tell(self):
        """All of it; returns the result."""
        self.teller.say("A DIMM goes bad under a running guest, and the guest has to leave that host.")
        self.set_the_scene()
        self.move_without_poison()
        self.poison_pages()
        self.watch_stock_refuse()
        self.move_with_poison()
        self.check_in_the_guest()
        self.read_the_logs()
        self.result["elapsed_s"] = round(self.teller.elapsed(), 1)
        self.teller.say(f"\nThe whole story took {self.result['elapsed_s']:.0f} s.")
        return self.result

    def set_the_scene(self):
        """Two hosts, their agents, and the guests on a."""
        self.teller.chapter("Two hosts")
        with self.teller.step("boot hosts a and b, software-emulated machines with KVM inside") as found:
            self.debian.start(self.settings.debian_kernel,
                              self.settings.guest_program("poison-toucher"),
                              ["--init", "--touches", str(TOUCHES)])
            self.pair.boot()
            found.append(f"Linux {self.pair.a.release} with our series on both")
        with self.teller.step("start hwpoisond on both"):
            self.agents = [Agent(host).start() for host in self.pair.hosts]
        with self.teller.step("start a guest on a, and one with stock QEMU beside it") as found:
            self.guest = self._qemu(self.pair.a)
            self.stock = Guest(self.pair.a, self.settings.stock_qemu, name="stock").start()
            self.stock.wait_ready()
            self.guest.wait_ready()
            hello = self.guest.ask("hello")
            found.append(f"its program has filled {hello['pages']} pages with a pattern, and checks each "
                         "when asked")

    def move_without_poison(self):
        """To b and back, for the comparison of downtimes."""
        self.teller.chapter("All is well")
        with self.teller.step("move the guest from a to b, and back") as found:
            there = self._move()
            back = self._move()
            found.append(f"the guest stood still for {there['downtime']} ms, and for "
                         f"{back['downtime']} ms on the way back")
        self.result["downtime_ms_without_poison"] = there["downtime"]

    def poison_pages(self):
        """Real memory errors, of which QEMU tells the guest."""
        self.teller.chapter("Memory of host a goes bad")
        count = len(self.pages)
        with self.teller.step(f"poison {count} page{'s' * (count > 1)} of the guest, by the kernel's "
                              "injector") as found:
            self.addresses = sorted(self.guest.ask_pages("gpa", self.pages)["gpa"])
            poison.inject(self.guest, self.addresses, limit=60 + count)
            known = poison.reported(self.guest)
            need(poison.pages(known) == self.addresses,
                 f"QEMU knows of {some(poison.pages(known))} and not of {some(self.addresses)}")
            need(poison.origins(known) == {"host"}, f"origins: {poison.origins(known)}")
            found.append(f"QEMU has put a machine check into the guest for each: {some(self.addresses)}")

    def watch_stock_refuse(self):
        """The problem."""
        with self.teller.step("poison one page of stock QEMU's guest too, and try to move it") as found:
            poison.inject(self.stock, self.stock.ask_pages("gpa", self.pages[:1])["gpa"])
            refusal = None
            try:
                self.stock.qmp.execute("migrate", {"uri": f"tcp:{self.pair.b.address}:4399"})
            except QmpError as error:
                refusal = str(error)
            need(refusal and STOCK_REFUSAL in refusal,
                 f"stock QEMU did not refuse as it was expected to: {refusal}")
            found.append(f'it refuses: "{refusal}"')
        self.result["stock_refused"] = True
        self.result["stock_refusal"] = refusal
        self.stock.stop()

    def move_with_poison(self):
        """What this project does."""
        self.teller.chapter("The guest leaves host a")
        self.result["poison_source"] = self._ranges()
        with self.teller.step("move our guest from a to b, with its poison") as found:
            information = self._move()
            found.append(f"the guest stood still for {information['downtime']} ms")
        with self.teller.step("ask QEMU on b which pages are poisoned") as found:
            self.result["poison_destination"] = self._ranges()
            need(self.result["poison_destination"] == self.result["poison_source"],
                 "the poison set on b is not that of a")
            found.append("the same: but here they are healthy pages with a poison marker")
        self.result["migrated"] = True
        self.result["downtime_ms"] = information["downtime"]

    def check_in_the_guest(self):
        """The proof, by the guest itself."""
        self.teller.chapter("On host b")
        with self.teller.step("have the guest read all its memory") as found:
            self.guest.qmp.take_events("MEMORY_FAILURE")
            check = self.guest.check(limit=120 + len(self.pages))
            machine_checks = len(self.guest.qmp.take_events("MEMORY_FAILURE"))
            bad = check["sigbus"]
            codes = {page["si_code"] for page in bad}
            need(sorted(page["gpa"] for page in bad) == self.addresses,
                 f"SIGBUS at {some(sorted(page['gpa'] for page in bad))}, poisoned are "
                 f"{some(self.addresses)}")
            need(codes == {"BUS_MCEERR_AR"}, f"si_code: {codes}")
            need(check["wrong_pages"] == 0, f"{check['wrong_pages']} pages with wrong contents")
            need(not any(page["known"] for page in bad),
                 "the guest's own kernel had unmapped a page: the touch never reached the memory")
            found.append(f"SIGBUS (BUS_MCEERR_AR) at each poisoned page, {machine_checks} machine "
                         f"check{'s' * (machine_checks != 1)} from QEMU")
            found.append(f"all other of {check['checked_pages']} pages hold what they must")
        self.result["guest_on_destination"] = {
            "sigbus_pages": self.addresses, "si_code": codes.pop(),
            "wrong_pages": check["wrong_pages"], "checked_pages": check["checked_pages"],
            "machine_checks": machine_checks}

    def read_the_logs(self):
        """No false report of a memory error, and no true one lost."""
        host = self.pair.b
        toucher = self.settings.guest_program("poison-toucher")
        with self.teller.step(f"touch emulated poison {TOUCHES} times from a program on b") as found:
            touched = json.loads(host.run(toucher, "--touches", TOUCHES).stdout)
            need(touched["sigbus"] == TOUCHES, f"only {touched['sigbus']} touches gave SIGBUS")
            lines = logrules.count_mce_lines(host.kernel_log())
            need(lines == 0, f"{lines} false MCE lines in b's log on our kernel")
            found.append(f'lines that say "{logrules.FALSE_MCE}" in b\'s kernel log: {lines}')
        with self.teller.step("the same on Debian's own kernel") as found:
            report = self._debian_report()
            found.append(f"Linux {report['kernel']}: {report['mce_log_lines']} such lines, all false")
        with self.teller.step("touch a page on b that is really bad") as found:
            host.run(toucher, "--real")
            real = logrules.count_mce_lines(host.kernel_log())
            need(real > 0, "a real memory error was not logged")
            found.append("that is logged, as it must be")
        self.result["false_mce_log_lines"] = {"patched": lines, "unpatched": report["mce_log_lines"]}
        self.result["real_mce_logged"] = real > 0
        with self.teller.step("search all kernel logs for warnings and bugs"):
            offences = [line for h in self.pair.hosts for line in h.new_offences()]
            offences += self.guest.new_offences()
            need(not offences, "in a kernel log: " + "; ".join(offences[:3]))

    # ---- what they are made of ----------------------------------------------------------------

    def _qemu(self, host, **options):
        return Guest(host, self.settings.patched_qemu, agent=self.agents[0].socket, **options).start()

    def _move(self):
        source = self.guest
        destination = self._qemu(self.pair.other(source.host), incoming=True)
        information = Migration(source, destination).run()
        source.stop()
        self.guest = destination
        return information

    def _ranges(self):
        return [{"guest_phys_addr": start, "length": length}
                for start, length in poison.ranges(poison.reported(self.guest))]

    def _debian_report(self):
        text = self.debian.wait_off(120)
        reports = [line for line in text.splitlines() if line.startswith('{"kernel"')]
        need(reports, f"Debian's kernel did not get to a report:\n{self.debian.last_words()}")
        report = json.loads(reports[-1])
        need(report["sigbus"] == TOUCHES and report["mce_log_lines"] > 0,
             f"Debian's kernel: {reports[-1]}")
        return report

    def emulator_crashed(self):
        """Whether the emulation below a host has crashed; see host.py."""
        return any(host.emulator_crashed() for host in self.pair.hosts)

    def stop(self):
        """Ends all machines."""
        self.debian.stop()
        self.pair.stop()
