"""A campaign: many cases of one fault, drawn from a seed, and one line that says what they showed.

    random SIGKILL: 400 cases, 0 violations, seed 4711

The quick size runs with all other tests, the long one with `pytest --long tests/campaigns`.
"""

from __future__ import annotations

import random
from collections import Counter

VIOLATIONS = ("lost", "duplicated", "reordered", "unexpected", "torn")


class Campaign:
    """What one campaign counts; its test ends with `end`."""

    def __init__(self, seed, long, lines):
        self.seed = seed
        self.long = long
        self.random = random.Random(seed)
        self.counts = Counter()
        self._lines = lines

    def size(self, quick, long):
        """How many cases to do."""
        return long if self.long else quick

    def count(self, word, number=1):
        """Count a violation, or what else is worth to be told ("recovered")."""
        self.counts[word] += number

    def end(self, name, cases):
        """Tell of it in one line; fails if anything was violated, or nothing was tried."""
        violations = sum(self.counts[word] for word in VIOLATIONS)
        told = ", ".join(
            f"{word} {number}" for word, number in sorted(self.counts.items()) if number
        )
        line = f"{name}: {cases:,} cases, {violations} violations, seed {self.seed}"
        self._lines.append(f"{line} ({told})" if told else line)
        assert cases > 0
        assert violations == 0, self._lines[-1]
