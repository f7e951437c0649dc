# SPDX-License-Identifier: GPL-2.0-or-later
"""What the kernel's selftests say, as verdicts by name.

Most print TAP in the kernel's dialect (Documentation/dev-tools/ktap.rst). Some of the older ones have only
words of their own, and some nothing but an exit status, which is then the one verdict.
"""

import dataclasses
import re

SKIPPED = 4
"""The exit status of a selftest that could not run at all."""

_TAP = re.compile(r"^(not )?ok \d+\s*(?:-\s*)?([^#\n]*?)\s*(?:#\s*(.*))?$")
_WORDS = [
    # uffd-unit-tests: Testing zeropage on anon... done
    (re.compile(r"^Testing (.*?)\.\.\. (done|failed|skipped)(.*)"),
     {"done": "pass", "failed": "fail", "skipped": "skip"}),
]
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@dataclasses.dataclass
class Report:
    """The outcome of one program: `verdicts` is by name "pass", "fail" or "skip"; `why` is by name what was
    said with it; `output` is all that was said."""

    status: int
    verdicts: dict
    why: dict
    output: str

    def named(self, verdict):
        """The names with this verdict."""
        return [name for name, found in self.verdicts.items() if found == verdict]

    def told(self, verdict):
        """The same with the reasons, for people."""
        return "; ".join(f"{name} ({self.why[name]})" if self.why[name] else name
                         for name in self.named(verdict))

    @property
    def bad(self):
        """Whether anything has failed."""
        return bool(self.named("fail")) or self.status not in (0, SKIPPED)

    def summary(self):
        """The counts."""
        return ", ".join(f"{len(self.named(verdict))} {word}" for verdict, word in
                         (("pass", "passed"), ("skip", "skipped"), ("fail", "failed")) if self.named(verdict))


def _line(text):
    """The name, the verdict and the reason of a line; None if it is no result."""
    match = _TAP.match(text)
    if match:
        failed, name, comment = match[1], match[2], match[3] or ""
        directive, _, rest = comment.partition(" ")
        if directive.upper() == "SKIP":
            # The name is on either side of the directive.
            return (name, "skip", rest) if name else (rest, "skip", "")
        return name or comment, "fail" if failed else "pass", comment if name else ""
    for pattern, words in _WORDS:
        match = pattern.match(text)
        if match:
            return match[1], words[match[2]], match[3].strip()
    return None


def report(output, status):
    """The Report of a program that has printed `output` and ended with `status`."""
    verdicts, why, planned = {}, {}, 0
    for text in _COLOURS.sub("", output.replace("\r", "")).splitlines():
        found = _line(text.strip())
        if not found:
            plan = re.match(r"1\.\.(\d+)(?:.*SKIP *(.*))?", text)
            planned = int(plan[1]) if plan else planned
            if plan and not planned:
                verdicts["all of it"], why["all of it"] = "skip", plan[2] or ""
            continue
        name, verdict, reason = found
        number = 2
        while name in verdicts:  # a name that is used again
            name = f"{found[0]} #{number}"
            number += 1
        verdicts[name], why[name] = verdict, reason
    if len(verdicts) < planned:
        verdicts["the rest"], why["the rest"] = "fail", f"{planned} were planned"
    if not verdicts:
        verdict = {0: "pass", SKIPPED: "skip"}.get(status, "fail")
        last = output.strip().splitlines()[-1:] or [""]
        verdicts, why = {"all of it": verdict}, {"all of it": f"exit status {status}: {last[0][:200]}"}
    return Report(status, verdicts, why, output)
