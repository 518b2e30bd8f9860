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
   id: every poster first of all empties the cells beyond LAST (P1).
5. The cursor is moved only by the reader that was elected last, from where that one has read:
   each election begins a term, and a move of another term, or from another position, is refused.
   Two readers at the same time, one of which was stopped for a while, cost time, never an event.

All of it is read and written under the lock of the bus.
"""

from __future__ import annotations

from .._errors import StdeventsError
from .._system.clock import monotonic_ns
from .._table.layout import CELL_EVENT, CELL_WORDS, CELLS, COMPANION, LAST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .stream import Position, Step

# The words of the header that belong to who travels with events.
STREAM = COMPANION  # hash of the stream's name; 0: no relay has been here
TERM = COMPANION + 1  # how often a reader of the stream was elected
READER = COMPANION + 2  # worker slot of the reader, plus 1; 0: none
UNTIL = COMPANION + 3  # nanoseconds of CLOCK_MONOTONIC up to which it is elected

# And of a cell, behind CELL_EVENT.
MILLISECONDS = 1  # this and the next: the id of an entry of the stream
SEQUENCE = 2
ADDED = 3  # how many entries the stream has ever had up to that one; all ones: unknown

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

        return Position(*self._words[at + MILLISECONDS : at + CELL_WORDS])

    def check(self, move: Step) -> None:
        """Overtaken, unless the move comes from the reader of this term, and from here."""
        if move.term != self._words[TERM] or move.before != self.position():
            raise Overtaken("another worker reads the stream now")

    def write(self, event_id: int, position: Position) -> None:
        """Store a position that the event `event_id`, which is not published yet, will publish."""
        words, at = self._words, CELLS[self._valid() == CELLS[0]]
        words[at + CELL_EVENT] = 0
        words[at + MILLISECONDS] = position.milliseconds
        words[at + SEQUENCE] = position.sequence
        words[at + ADDED] = position.added
        words[at + CELL_EVENT] = event_id

    def begin(self, position: Position) -> Position:
        """Set the position if the bus has none; returns the one that it has now."""
        if self.position() is None:
            self.write(self._words[LAST], position)
        return self.position() or position

    def move(self, move: Step) -> None:
        self.check(move)
        self.write(self._words[LAST], move.after)

    def _valid(self) -> int:
        """Where the valid cell is; 0 if there is none."""
        words = self._words
        valid = 0
        newest: tuple[int, ...] = ()
        for at in CELLS:
            cell = tuple(words[at : at + ADDED])
            if 0 < cell[0] <= words[LAST] and cell > newest:
                valid, newest = at, cell
        return valid

    # -- election ----------------------------------------------------------------------------------

    def bind(self, stream: int) -> bool:
        """Bind the bus to the stream of this hash; False if it is bound to another."""
        self._words[STREAM] = self._words[STREAM] or stream
        return bool(self._words[STREAM] == stream)

    def elect(self, slot: int, lives: Callable[[int], bool]) -> int:
        """Elect the worker of `slot` as the reader; its term, or 0 if another one is.

        A live reader is replaced only if it did not renew its lease in time: it was stopped, say.
        """
        words, now = self._words, monotonic_ns()
        reader = words[READER]
        # A lease that ends later than any could is damaged, or the clock has begun again since.
        if reader and now < words[UNTIL] <= now + LEASE and lives(reader - 1):
            return 0
        words[UNTIL] = 0
        words[TERM] += 1  # from here on moves of earlier readers are refused
        words[READER] = slot + 1
        words[UNTIL] = now + LEASE
        return words[TERM]

    def renew(self, term: int) -> bool:
        """Renew the lease of the reader of this term; False if there was another election."""
        if self._words[TERM] != term:
            return False
        self._words[UNTIL] = monotonic_ns() + LEASE
        return True

    def resign(self, term: int) -> None:
        if self._words[TERM] == term:
            self._words[READER] = 0


class Travelling:
    """A step of the cursor on its way with events, to be published with them."""

    def __init__(self, cursor: Cursor, step: Step) -> None:
        self._cursor = cursor
        self._step = step

    def check(self, words: memoryview) -> None:
        """Overtaken, unless the step may be taken."""
        self._cursor.check(self._step)

    def write(self, words: memoryview, through: int) -> None:
        """Store where it leads, to be published with the event `through`."""
        self._cursor.write(through, self._step.after)
