"""The place of a host, kept in Redis as its consumer group, for the next bus of this host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .._errors import RelayError
from .._log import WARNING, report
from .._system.clock import monotonic_ns
from .client import is_away
from .cursor import LEASE

if TYPE_CHECKING:
    from .ids import EntryId, Position
    from .stream import Stream

EVERY = 200_000_000  # nanoseconds between two times that Redis is told


class Keeper:
    """Of one reader. `keep` raises RelayError only where Redis is away."""

    def __init__(self, stream: Stream, bus: str, host: str) -> None:
        self._stream = stream
        self._bus = bus
        self._group = f"{host}/{bus}".encode()
        self._kept: EntryId | None = None  # what Redis was told last, by this process
        self._is_due = True  # whatever was told
        self._tried_at = self._again_at = 0  # nanoseconds of CLOCK_MONOTONIC
        self._is_refused = False

    def find(self) -> Position | None:
        """The place that Redis has; None: there is none."""
        return self._stream.kept(self._group)

    def elected(self) -> None:
        """This process reads from now on.

        Whoever has read before may be late with a place of its own, so this one tells twice.
        """
        self._is_due = True
        self._again_at = monotonic_ns() + LEASE

    def keep(self, place: Position | None, at_once: bool = False) -> None:
        """Have Redis keep the place, if that is due."""
        now = monotonic_ns()
        if self._again_at and now >= self._again_at:
            self._is_due, self._again_at = True, 0
        is_new = place is not None and (self._is_due or place.entry != self._kept)
        if place is None or not (at_once or (is_new and now >= self._tried_at + EVERY)):
            return
        self._tried_at = now
        try:
            self._stream.keep(self._group, place)
        except RelayError as error:
            if is_away(error):
                raise
            self._refuse(error)  # which is no reason to read no more
        else:
            self._kept, self._is_due, self._is_refused = place.entry, False, False

    def has_gone_back(self) -> bool:
        """Does Redis have an older place than it was told? So it has lost more than that."""
        found = self.find() if self._kept is not None else None
        return found is not None and self._kept is not None and found.entry < self._kept

    def _refuse(self, error: RelayError) -> None:
        if not self._is_refused:
            self._is_refused = True
            what = "bus %r: %s; so the next bus of this host begins where the place was kept last"
            report(what, self._bus, error, level=WARNING)
