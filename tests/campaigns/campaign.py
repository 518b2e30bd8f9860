"""A campaign: many cases of one fault, drawn from a seed, and one line that says what they showed.

    random SIGKILL: 400 cases, 0 violations, seed 4711

The quick size runs with `pytest tests/campaigns`, the long one with `--long`, too. A long run says
every half minute how far it has come.
"""

from __future__ import annotations

import random
import signal
import time
from collections import Counter

from children import SECONDS

VIOLATIONS = ("lost", "duplicated", "reordered", "unexpected", "torn")


TELL_EVERY = 30  # seconds


class Campaign:
    """What one campaign counts; its test calls `progress` on the way, and `end`."""

    def __init__(self, seed, long, lines, tell):
        self.seed = seed
        self.long = long
        self.random = random.Random(seed)
        self.counts = Counter()
        self._lines = lines
        self._tell = tell
        self._told_at = time.monotonic()

    def size(self, quick, long):
        """How many cases to do."""
        return long if self.long else quick

    def count(self, word, number=1):
        """Count a violation, or what else is worth to be told ("recovered")."""
        self.counts[word] += number

    def progress(self, name, cases):
        """It gets on: the watchdog has SECONDS to wait again."""
        signal.alarm(SECONDS)
        if self.long and time.monotonic() > self._told_at + TELL_EVERY:
            self._told_at = time.monotonic()
            self._tell(self._line(name, cases))

    def in_programs(self, name, cases, at_once, counts_of):
        """Do them in programs, so many in each: `counts_of(seed)` is what one of them tells."""
        for done in range(0, cases, at_once):
            self.counts.update(counts_of(self.random.randrange(1 << 32)))
            self.progress(name, done)

    def end(self, name, cases):
        """Tell of it in one line; fails if anything was violated, or nothing was tried."""
        line = self._line(name, cases)
        self._lines.append(line)
        assert cases > 0
        assert not self._violations(), line

    def _violations(self):
        return sum(self.counts[word] for word in VIOLATIONS)

    def _line(self, name, cases):
        told = ", ".join(
            f"{word} {number}" for word, number in sorted(self.counts.items()) if number
        )
        line = f"{name}: {cases:,} cases, {self._violations()} violations, seed {self.seed}"
        return f"{line} ({told})" if told else line
