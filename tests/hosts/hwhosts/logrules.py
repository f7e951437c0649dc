# SPDX-License-Identifier: GPL-2.0-or-later
"""Which lines in a kernel log make a test fail.

The rules name what the kernel prints when it finds a mistake of its own: warnings, bugs, oopses, lock
and memory checkers, hung tasks, stalls. What these tests cause on purpose is no mistake: the lines of
memory_failure() and of the machine check code match no rule. ALLOWED is for the rest: a line
that matches a rule but is expected, each with the reason.
"""

import re

RULES = re.compile(
    r"\bWARNING:|\bBUG:|kernel BUG at|\bOops\b|general protection|double fault|"
    r"Kernel panic|[Uu]nable to handle|Call Trace:|refcount_t:|corruption (detected|in)|"
    r"list_(add|del) corruption|Bad (page|rss-counter|pagetable)|"
    r"KASAN|KCSAN|UBSAN|KFENCE|kmemleak:|"
    r"possible (recursive locking|circular locking|irq lock inversion|deadlock)|"
    r"inconsistent lock state|suspicious RCU usage|lockdep|held lock freed|"
    r"blocked for more than|soft lockup|hard LOCKUP|rcu.*(stall|detected expedited)|"
    r"sleeping function called|scheduling while atomic|Memory error not recovered")

ALLOWED = [
    # Printed by every boot of a kernel with lock debugging; says only that it is there.
    re.compile(r"Lock dependency validator|lockdep: fixing up|RCU lockdep checking is enabled"),
]

FALSE_MCE = "MCE: Killing"
"""What x86 logs for a user-mode touch of a poisoned page; counted by tests, not an error."""


def offences(log):
    """The lines of a kernel log (text) that make a test fail."""
    return [line for line in log.splitlines()
            if RULES.search(line) and not any(rule.search(line) for rule in ALLOWED)]


def count_mce_lines(log):
    """How many lines say that a process is being killed for a memory error."""
    return sum(FALSE_MCE in line for line in log.splitlines())
