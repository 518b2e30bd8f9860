"""For how long the reader waits for the workers of its own host, so as not to overrun them.

A host that catches up could put more on its bus than they can take. But nobody, whether it stands
still or is slow, keeps all others from the stream for longer than a while.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._system.clock import monotonic

if TYPE_CHECKING:
    from .._errors import NoRoom

PATIENCE = 2.0  # seconds for which there may be no room for want of one worker


class Pace:
    """Of one reader."""

    def __init__(self) -> None:
        self._since: dict[int, float] = {}  # by slot: on the clock, when it was waited for first

    def is_worth_waiting(self, full: NoRoom) -> bool:
        """Is any of the workers for which there is no room not waited for too long already?"""
        now = monotonic()
        self._since = {slot: self._since.get(slot, now) for slot in full.slots}
        return any(now < since + PATIENCE for since in self._since.values())

    def has_room(self) -> None:
        """There was room: whoever is waited for next is so anew."""
        self._since.clear()
