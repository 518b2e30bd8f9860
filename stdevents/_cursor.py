"""The cursor of a relay: how far into its stream the bus has come, and who may move it on.

A position is the id of an entry of the stream: the bus has got all entries up to it, and none
after it. It stands in one of two cells, each with the id of the event that publishes it.

    empty     its event is 0
    written   its event is LAST + 1: P3 has stored it, P4 has not happened
    counts    of the cells whose event is at most LAST, it has the greatest (event, position)

Rules:

1. A position that comes with an event is stored between P3 and P4 of that event, with its id.
   So the one store of LAST publishes both, or neither.
2. A position without one (an entry that was skipped) is stored with the id of the last event,
   and is greater than the one before; the store of that id publishes it.
3. Only the cell that does not count is written. Its event is 0 meanwhile, and stored last.
4. A cell whose poster was killed before P4 must not come to count when another event takes the
   id. That poster had raised INTENT (P2) before: whoever finds INTENT beyond the end of the last
   event empties the cells beyond LAST, before anything else (P1).
5. The cursor is moved only by the reader that was elected last, from where that one has read:
   each election begins a term, and a move that comes with another term, or from another
   position, is refused. Two readers at once, of which one was just stopped for a while, cost
   time, and never an event.

All of it is read and written under the lock of the bus.
"""

from __future__ import annotations

import time

from ._errors import StdeventsError
from ._layout import (
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

    from ._stream import Move, Position

LEASE = 3_000_000_000  # nanoseconds for which a reader is elected; it renews that in time


class Overtaken(StdeventsError):
    """Another reader was elected meanwhile, and goes on from where this one was."""


class Cursor:
    """The cursor of one bus. All methods are called under the lock of the bus."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    # -- position ----------------------------------------------------------------------------------

    def position(self) -> Position | None:
        """How far the bus has come; None if no relay has been here."""
        at = self._counting()
        if not at:
            return None
        from ._stream import Position  # every bus has a cursor, and few a relay

        return Position(*self._words[at + CELL_MILLISECONDS : at + CELL_WORDS])

    def check(self, move: Move) -> None:
        """Overtaken, unless the move comes from the reader of this term, and from here."""
        if move.term != self._words[RELAY_TERM] or move.before != self.position():
            raise Overtaken("another worker reads the stream now")

    def write(self, number: int, position: Position) -> None:
        """Store a position that the event `number`, which is not published yet, will publish."""
        words, at = self._words, RELAY_CELLS[self._counting() == RELAY_CELLS[0]]
        words[at + CELL_EVENT] = 0
        words[at + CELL_MILLISECONDS] = position.milliseconds
        words[at + CELL_SEQUENCE] = position.sequence
        words[at + CELL_ADDED] = position.added
        words[at + CELL_EVENT] = number

    def begin(self, position: Position) -> Position:
        """Have the bus begin at a position, if it has none; returns the one that it has then."""
        if self.position() is None:
            self.write(self._words[LAST], position)
        return self.position() or position

    def move(self, move: Move) -> None:
        """Move on without an event."""
        self.check(move)
        self.write(self._words[LAST], move.after)

    def take_back(self) -> None:
        """Empty the cells of events that were never published."""
        words = self._words
        for at in RELAY_CELLS:
            if words[at + CELL_EVENT] > words[LAST]:
                words[at + CELL_EVENT] = 0

    def _counting(self) -> int:
        """Where the cell is that counts; 0 if there is none."""
        words = self._words
        counting = 0
        newest: tuple[int, ...] = ()
        for at in RELAY_CELLS:
            cell = tuple(words[at : at + CELL_ADDED])
            if 0 < cell[0] <= words[LAST] and cell > newest:
                counting, newest = at, cell
        return counting

    # -- election ----------------------------------------------------------------------------------

    def bind(self, stream: int) -> bool:
        """Have the bus belong to the stream of this hash; False if it belongs to another."""
        self._words[RELAY_STREAM] = self._words[RELAY_STREAM] or stream
        return bool(self._words[RELAY_STREAM] == stream)

    def elect(self, slot: int, lives: Callable[[int], bool]) -> int:
        """Elect the worker of `slot` as the reader; its term, or 0 if another one reads.

        One that is alive has to have failed to renew its lease, since it was stopped, say.
        """
        words, now = self._words, time.monotonic_ns()
        reader = words[RELAY_READER]
        if reader and now < words[RELAY_UNTIL] and lives(reader - 1):
            return 0
        words[RELAY_UNTIL] = 0
        words[RELAY_TERM] += 1  # from here on no move of an earlier reader is taken
        words[RELAY_READER] = slot + 1
        words[RELAY_UNTIL] = now + LEASE
        return words[RELAY_TERM]

    def renew(self, term: int) -> bool:
        """Prolong the lease of the reader of this term; False if there was another election."""
        if self._words[RELAY_TERM] != term:
            return False
        self._words[RELAY_UNTIL] = time.monotonic_ns() + LEASE
        return True

    def resign(self, term: int) -> None:
        """Let another worker be elected at once."""
        if self._words[RELAY_TERM] == term:
            self._words[RELAY_READER] = 0
