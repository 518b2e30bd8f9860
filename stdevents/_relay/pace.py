"""For how long the reader waits for the workers of its own host, so as not to overrun them.

A host that catches up could put more on its bus than they can take. Whoever goes on is waited for;
whoever stands still only for a while, so that nobody keeps all others from the stream.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._system.clock import monotonic
from .._table.layout import WORKER_POSITION
from .._table.workers import at

if TYPE_CHECKING:
    from .._errors import NoRoom

PATIENCE = 2.0  # seconds for which a worker may take nothing


class Pace:
    """Of one reader."""

    def __init__(self, words: memoryview) -> None:
        self._words = words
        self._seen: dict[int, tuple[int, float]] = {}  # by slot: position, and since when

    def is_worth_waiting(self, full: NoRoom) -> bool:
        """Does one of the workers for which there is no room go on?"""
        now, goes_on = monotonic(), False
        for slot in full.slots:
            position = self._words[at(slot) + WORKER_POSITION]
            before, since = self._seen.get(slot, (-1, now))
            if position != before:
                self._seen[slot] = position, now
                goes_on = True
            elif now < since + PATIENCE:
                goes_on = True
        return goes_on
