"""The cursor of a relay: how far into its stream the bus has come, and which process may move it.

A position is the id of an entry of the stream: the bus has all entries up to it, and none after
it. It is in one of the two cells of the segment, each with the id of the event that publishes it.

    empty     its event is 0
    written   its event is beyond LAST: P3 has stored it, P4 has not happened
    valid     of the cells whose event is at most LAST, it has the greatest (event, position)

Rules:

1. A position that comes with events is their companion: it is stored between P3 and P4, with the id
   of the last of them. So the one store of LAST publishes both, or neither.
2. A position without one (an entry that was skipped) is stored with the id of the last event,
   and is greater than the one before; the store of that id publishes it.
3. Only the cell that is not valid is written. Its event is 0 while that lasts, and stored last.
4. A cell whose poster was killed before P4 must not become valid when another event takes the
   id. That poster had raised INTENT (P2) before: the next poster, of whatever, finds INTENT beyond
   the end of the last event, and first of all empties the cells beyond LAST (P1).
5. The cursor is moved only by the reader that was elected last, from where that one has read:
   each election begins a term, and a step of another term, or from another position, is refused.
   Two readers at the same time, one of which was stopped for a while, cost time, never an event.

All of it is read and written under the lock of the bus.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .._errors import StdeventsError
from .._system.clock import monotonic_ns
from .._table import workers
from .._table.layout import (
    CELL_EVENT,
    CELL_WORDS,
    CELLS,
    COMPANION,
    LAST,
    WORKER_PID,
    WORKER_SERIAL,
    WORKERS,
)
from .ids import UNKNOWN, Position
from .snapshot import CHECK_BITS

if TYPE_CHECKING:
    from typing import Callable

# words of the companion
STREAM = COMPANION  # hash of the stream's name; 0: no relay has been here
TERM = COMPANION + 1  # how many elections there were
READER = COMPANION + 2  # slot of the elected worker, and 1; 0: nobody
READER_SERIAL = COMPANION + 3  # of that worker: its slot may be another's by now
UNTIL = COMPANION + 4  # nanoseconds of CLOCK_MONOTONIC up to which it is elected
BEHIND = COMPANION + 5  # how many entries came after the position at the last look, and 1
AWAY_SINCE = COMPANION + 6  # seconds since the epoch since which Redis is away; 0: it is not

# a cell, behind CELL_EVENT: the position
CELL_MILLISECONDS = 1
CELL_SEQUENCE = 2
CELL_ADDED = 3  # how many entries there were up to there, and below them the entry's check

LEASE = 3_000_000_000  # nanoseconds for which a reader is elected; it renews that in time


class Overtaken(StdeventsError):
    """Another reader was elected since, and continues from where this one was."""


class Step(NamedTuple):
    """A step of the cursor by the reader of a term; a companion of the events that come with it."""

    term: int
    before: Position
    after: Position
    behind: int | None = None  # how many entries there are after that, as far as is known

    def check(self, words: memoryview) -> None:
        """P1: Overtaken, unless it comes from the reader of this term, and from here."""
        position = Cursor(words).position()
        is_here = position is not None and position.entry == self.before.entry
        if self.term != words[TERM] or not is_here:
            raise Overtaken("another worker reads the stream now")

    def write(self, words: memoryview, through: int) -> None:
        """P3: store where it leads, for the event `through` to publish."""
        cursor = Cursor(words)
        cursor.behind = self.behind
        cursor.write(through, self.after)


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
        milliseconds, sequence, added = self._words[at + CELL_MILLISECONDS : at + CELL_WORDS]
        return Position(milliseconds, sequence, *divmod(added, 1 << CHECK_BITS))

    def write(self, event_id: int, position: Position) -> None:
        """Store a position that the event `event_id`, which is not published yet, will publish."""
        words, at = self._words, CELLS[self._valid() == CELLS[0]]
        words[at + CELL_EVENT] = 0
        words[at + CELL_MILLISECONDS] = position.milliseconds
        words[at + CELL_SEQUENCE] = position.sequence
        words[at + CELL_ADDED] = position.added << CHECK_BITS | position.check
        words[at + CELL_EVENT] = event_id

    def begin(self, position: Position) -> Position:
        """Set the position if the bus has none; returns the one that it has now."""
        if self.position() is None:
            self.write(self._words[LAST], position)
        return self.position() or position

    def take(self, step: Step) -> None:
        """Take a step with which no event comes (rule 2)."""
        step.check(self._words)
        step.write(self._words, self._words[LAST])

    @property
    def behind(self) -> int | None:
        """How many entries came after the position at the reader's last look; None: unknown."""
        return self._words[BEHIND] - 1 if self._words[BEHIND] else None

    @behind.setter
    def behind(self, entries: int | None) -> None:
        self._words[BEHIND] = 0 if entries is None else min(entries, UNKNOWN) + 1

    def _valid(self) -> int:
        """Where the valid cell is; 0 if there is none."""
        words = self._words
        valid = 0
        newest: tuple[int, ...] = ()
        for at in CELLS:
            cell = tuple(words[at : at + CELL_ADDED])
            if 0 < cell[0] <= words[LAST] and cell > newest:
                valid, newest = at, cell
        return valid

    # -- election ----------------------------------------------------------------------------------

    def reader(self) -> int:
        """The pid of the elected reader; 0: nobody reads, or it has not renewed in time."""
        words, slot = self._words, self._slot()
        if slot < 0 or words[UNTIL] < monotonic_ns():
            return 0
        pid: int = words[workers.at(slot) + WORKER_PID]
        return pid

    def bind(self, stream: int) -> bool:
        """Bind the bus to the stream of this hash; False if it is bound to another."""
        self._words[STREAM] = self._words[STREAM] or stream
        return bool(self._words[STREAM] == stream)

    def elect(self, slot: int, lives: Callable[[int], bool]) -> int:
        """Elect the worker of `slot` as the reader; its term, or 0 if another one is.

        A live reader is replaced only if it did not renew its lease in time: it was stopped, say.
        `lives` says whether the worker of a slot is alive.
        """
        words, now = self._words, monotonic_ns()
        if self._reader_lives(lives) and 0 < words[UNTIL] - now <= LEASE:
            return 0
        words[UNTIL] = 0  # nobody is elected until all of it is there
        words[TERM] += 1  # from here on steps of earlier readers are refused
        words[READER] = slot + 1
        words[READER_SERIAL] = self._serial(slot)
        words[UNTIL] = now + LEASE
        term: int = words[TERM]
        return term

    def _reader_lives(self, lives: Callable[[int], bool]) -> bool:
        slot = self._slot()
        return slot >= 0 and lives(slot)

    def _slot(self) -> int:
        """That of the elected worker; -1: nobody, or it is another's by now, or damaged."""
        slot: int = self._words[READER] - 1
        is_its = 0 <= slot < WORKERS and self._words[READER_SERIAL] == self._serial(slot)
        return slot if is_its else -1

    def _serial(self, slot: int) -> int:
        serial: int = self._words[workers.at(slot) + WORKER_SERIAL]
        return serial

    def renew(self, term: int) -> bool:
        """Renew the lease of the reader of this term; False if there was another election."""
        if self._words[TERM] != term:
            return False
        self._words[UNTIL] = monotonic_ns() + LEASE
        return True

    def resign(self, term: int) -> None:
        """End the lease of the reader of this term, if it is still that."""
        if self._words[TERM] == term:
            self._words[READER] = 0
