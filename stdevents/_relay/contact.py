"""Whether Redis answers, as one process knows it, and what it says of that: once, not at each try.

    read    the thread that is a candidate, or the reader
    post    whoever posts, and what is sent later

Each of them fails or not, since it may be refused what the other one is granted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._log import WARNING, report
from .._system.clock import date, monotonic
from .client import is_away

if TYPE_CHECKING:
    from .._errors import RelayError

READ, POST = "read", "post"
TOLD_EVERY = 60.0  # seconds between two warnings that it is so still
LOGGED = 10  # up to which all is told; from then on only where a power of two is reached
PAUSES = 0.1, 0.5  # seconds, the first and the longest, between two tries


def is_told(before: int, after: int) -> bool:
    """Is it worth a line in the log that a count has grown? Often while it is small."""
    return after <= LOGGED or before.bit_length() < after.bit_length()


class Contact:
    """Of one relay in one process."""

    def __init__(self, bus: str, stream: str) -> None:
        self._bus = bus
        self._stream = stream
        self._failing: set[str] = set()
        self._began = self._tell_at = 0.0  # on the clock
        self._pause = 0.0
        #: Could Redis not be reached at the last try, of whatever kind? A refusal is an answer.
        self.is_away = False
        #: seconds since the epoch since which it does not answer, or 0
        self.away_since = 0.0

    def fails(self, what: str) -> bool:
        """Did the last try of this kind fail?"""
        return what in self._failing

    def failed(self, what: str, error: RelayError) -> None:
        """A try has failed; it is told when it was the first, and then once a minute."""
        now, is_first = monotonic(), not self._failing
        self._failing.add(what)
        self.is_away = is_away(error)
        if is_first:
            self._began, self.away_since = now, date()
            report("bus %r: %s; it will be tried again", self._bus, error, level=WARNING)
        elif now >= self._tell_at:
            words = "bus %r: %s; so it is for %d s, and is tried again all the time"
            report(words, self._bus, error, now - self._began, level=WARNING)
        else:
            return
        self._tell_at = now + TOLD_EVERY

    def succeeded(self, what: str) -> None:
        """A try had an answer; it is told when it was the first one since others had none."""
        self.is_away = False
        if what in self._failing:
            self._failing.discard(what)
            if not self._failing:
                self._pause = self.away_since = 0.0
                words = "bus %r: stream %r is reached again, after %.1f s"
                seconds = monotonic() - self._began
                report(words, self._bus, self._stream, seconds, level=WARNING)

    def next_pause(self) -> float:
        """Seconds to wait before the next try."""
        first, longest = PAUSES
        self._pause = min(2 * self._pause, longest) or first
        return self._pause
