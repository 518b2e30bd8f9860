"""The cursor of a relay: how far into its stream the bus has come, and which process may move it.

A position is the id of an entry of the stream: the bus has all entries up to it, and none after
it. It is in one of two cells, each with the id of the event that publishes it.

    empty     its event is 0
    written   its event is LAST + 1: P3 has stored it, P4 has not happened
    valid     of the cells whose event is at most LAST, it has the greatest (event, position)

Rules:

1. A position that comes with an event is stored between P3 and P4 of that event, with its id.
   So the one store of LAST publishes both, or neither.
2. A position without one (an entry that was skipped) is stored with the id of the last event,
   and is greater than the one before; the store of that id publishes it.
3. Only the cell that is not valid is written. Its event is 0 while that lasts, and stored last.
4. A cell whose poster was killed before P4 must not become valid when another event takes the
   id. That poster had raised INTENT (P2) before: the next poster finds INTENT beyond the end of
   the last event, and first of all empties the cells beyond LAST (P1).
5. The cursor is moved only by the reader that was elected last, from where that one has read:
   each election begins a term, and a move of another term, or from another position, is refused.
   Two readers at the same time, one of which was stopped for a while, cost time, never an event.

All of it is read and written under the lock of the bus.
"""

from __future__ import annotations

import time

from .._errors import StdeventsError
from .._table.layout import (
    CELL_ADDED,
    CELL_EVENT,
    CELL_MILLISECONDS,
    CELL_SEQUENCE,
    CELL_WORDS,
    LAST,
    RELAY_CELLS,
    RELAY_READER,
    RELAY_STREAM,
    RELAY_TERM,
    RELAY_UNTIL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .stream import Move, Position

LEASE = 3_000_000_000  # nanoseconds for which a reader is elected; it renews that in time


class Overtaken(StdeventsError):
    """Another reader was elected since, and continues from where this one was."""


class Cursor:
    """The cursor of one bus. All methods are called under the lock of the bus."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    # -- position ----------------------------------------------------------------------------------

    def position(self) -> Position | None:
        """How far the bus has come; None if no relay has been here."""
        at = self._valid()
        if not at:
            return None
        from .stream import Position  # every bus has a cursor, and few a relay

        return Position(*self._words[at + CELL_MILLISECONDS : at + CELL_WORDS])

    def check(self, move: Move) -> None:
        """Overtaken, unless the move comes from the reader of this term, and from here."""
        if move.term != self._words[RELAY_TERM] or move.before != self.position():
            raise Overtaken("another worker reads the stream now")

    def write(self, event_id: int, position: Position) -> None:
        """Store a position that the event `event_id`, which is not published yet, will publish."""
        words, at = self._words, RELAY_CELLS[self._valid() == RELAY_CELLS[0]]
        words[at + CELL_EVENT] = 0
        words[at + CELL_MILLISECONDS] = position.milliseconds
        words[at + CELL_SEQUENCE] = position.sequence
        words[at + CELL_ADDED] = position.added
        words[at + CELL_EVENT] = event_id

    def begin(self, position: Position) -> Position:
        """Set the position if the bus has none; returns the one that it has now."""
        if self.position() is None:
            self.write(self._words[LAST], position)
        return self.position() or position

    def move(self, move: Move) -> None:
        self.check(move)
        self.write(self._words[LAST], move.after)

    def take_back(self) -> None:
        """Empty the cells of events that were not published (rule 4)."""
        words = self._words
        for at in RELAY_CELLS:
            if words[at + CELL_EVENT] > words[LAST]:
                words[at + CELL_EVENT] = 0

    def _valid(self) -> int:
        """Where the valid cell is; 0 if there is none."""
        words = self._words
        valid = 0
        newest: tuple[int, ...] = ()
        for at in RELAY_CELLS:
            cell = tuple(words[at : at + CELL_ADDED])
            if 0 < cell[0] <= words[LAST] and cell > newest:
                valid, newest = at, cell
        return valid

    # -- election ----------------------------------------------------------------------------------

    def bind(self, stream: int) -> bool:
        """Bind the bus to the stream of this hash; False if it is bound to another."""
        self._words[RELAY_STREAM] = self._words[RELAY_STREAM] or stream
        return bool(self._words[RELAY_STREAM] == stream)

    def elect(self, slot: int, lives: Callable[[int], bool]) -> int:
        """Elect the worker of `slot` as the reader; its term, or 0 if another one is.

        A live reader is replaced only if it did not renew its lease in time: it was stopped, say.
        """
        words, now = self._words, time.monotonic_ns()
        reader = words[RELAY_READER]
        if reader and now < words[RELAY_UNTIL] and lives(reader - 1):
            return 0
        words[RELAY_UNTIL] = 0
        words[RELAY_TERM] += 1  # from here on moves of earlier readers are refused
        words[RELAY_READER] = slot + 1
        words[RELAY_UNTIL] = now + LEASE
        return words[RELAY_TERM]

    def renew(self, term: int) -> bool:
        """Renew the lease of the reader of this term; False if there was another election."""
        if self._words[RELAY_TERM] != term:
            return False
        self._words[RELAY_UNTIL] = time.monotonic_ns() + LEASE
        return True

    def resign(self, term: int) -> None:
        if self._words[RELAY_TERM] == term:
            self._words[RELAY_READER] = 0
