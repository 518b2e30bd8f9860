"""The reader: from a stream to the bus of its host, in one process of the host at a time.

    elect     become the reader, for a lease that is renewed, unless another process is
    look      read some entries after the cursor; are entries before them gone already?
    claim     of the events with `unique` among them, those that this host may handle
    append    each batch together with the cursor's step to its end, by the rules of `cursor`
    keep      have Redis keep the cursor's place, for the next bus of this host
    wait      have Redis tell when there is more

Killed at any instant, it leaves the cursor where the next reader has to begin.
"""

from __future__ import annotations

import time
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING

from .._errors import NoRoom, StdeventsError
from .._log import INFO, report
from .._system import presence
from .._system.clock import monotonic_ns
from .batches import Batch, Batches
from .cursor import AWAY_SINCE, LEASE, Cursor, Overtaken, Step
from .entries import Entries
from .ids import EntryId, Position, parse, preceding
from .keeping import Keeper
from .losses import Losses
from .onlooker import Standing, leave_name, standing_of
from .pace import Pace
from .snapshot import Gap, Snapshot, check_of
from .stream import Stream

if TYPE_CHECKING:
    from collections import Counter

    from .._bus.handlers import Handlers
    from .._bus.seat import Seat

ENTRIES = 256  # at most, in one look
LAST = "last"  # of `start`


class Reader:
    """A candidate for the reader of an open bus, on one seat."""

    def __init__(
        self,
        seat: Seat,
        handlers: Handlers,
        stream: Stream,
        host: str,
        start: str | Position,
        counts: Counter[str],
    ) -> None:
        self.seat = seat
        self._name = seat.name
        self._cursor = Cursor(seat.words)
        self._locked = seat.lock.hold
        self._stream = stream
        self._start = start
        self._counts = counts
        entries = Entries(seat.name, stream.name, handlers, counts)
        self._losses = Losses(seat, stream, entries, counts)
        self._batches = Batches(seat, stream, entries, self._losses)
        self._keeper = Keeper(stream, seat.name, host)
        self._pace = Pace()
        self._term = 0  # 0: it is not the reader
        self._is_told = False  # that it is
        self._renewal = self._until = 0  # of the lease, in nanoseconds of CLOCK_MONOTONIC
        self._position: Position | None = None  # the cursor's, where it is known
        self._pending: list[tuple[Batch, Step]] = []
        self._is_near = False  # the end of the stream, so that a glance will do
        self._has_all = False  # what there was at the last look
        self._counted: EntryId = (0, 0)  # up to there no entry was deleted that was counted
        self._seen: Position | None = None  # a place whose entry was seen, which the bus has not
        digest = blake2b(stream.name.encode(), digest_size=8).digest()
        if not self._locked(self._cursor.bind, int.from_bytes(digest, "big") or 1):
            raise StdeventsError(
                f"bus {self._name!r}: another stream than {stream.name!r} is relayed to it; "
                "take that one, or another bus"
            )
        leave_name(seat.folder, stream.name)

    # -- election ----------------------------------------------------------------------------------

    @property
    def reading(self) -> bool:
        """Is this process the reader, as far as it knows, and not stuck?"""
        return self._term > 0 and monotonic_ns() < self._until

    def elect(self) -> bool:
        """Become the reader, unless another process is; is this one the reader now?"""
        now = monotonic_ns()
        if self._term and now < self._renewal:
            return True
        if not (self._term and self._locked(self._cursor.renew, self._term)):
            self._term = self._elect()
            self._forget_place()
            self._is_told = False
            if self._term:
                self._keeper.elected()
        self._renewal, self._until = now + LEASE // 3, now + LEASE
        return self._term > 0

    def _elect(self) -> int:
        if self.seat.slot is None:  # a poster: nobody would know whether it lives
            return 0
        lives = partial(presence.lives, self.seat.folder)
        return self._locked(self._cursor.elect, self.seat.slot, lives)

    def succeed(self, before: Reader) -> None:
        """The worker has another seat on its bus: not to be taken for another reader's there."""
        before._term, self._term = 0, before._term
        self.resign()

    def resign(self) -> None:
        """Let another process be elected now, not when the lease ends."""
        term, self._term = self._term, 0
        if term:
            self._locked(self._cursor.resign, term)

    # -- read --------------------------------------------------------------------------------------

    @property
    def place(self) -> Position | None:
        """How far this reader has come; None if it did not read."""
        return self._position

    def step(self, seconds: float) -> bool:
        """Put some of the stream on the bus, or wait for more, at most so long.

        Was it waited for, too? RelayError; LockTimeout; Overtaken if another reader was elected.
        """
        place = self._position
        has_all = place is not None and (self._has_all or self._stream.is_waiting(place))
        if (self._pending or not has_all) and (self.read() or not seconds):
            return False
        self._keeper.keep(self._position)
        if self._position is None:
            return False
        has_come = self._stream.wait(self._position, seconds)
        if has_come is not None:
            # Where the entry at the place is not to be seen, a look would tell no more than this.
            self._has_all = not (has_come or self._position.check)
        return True

    def begin(self) -> Position:
        """How far the bus has come; one that has no position yet gets one."""
        position = self._locked(self._cursor.position)
        if position is not None:
            return position
        return self._locked(self._cursor.begin, self._beginning())

    def _beginning(self) -> Position:
        start = self._start
        if isinstance(start, Position):
            return start
        kept = self._keeper.find() if start == LAST else None
        if kept is not None:
            return kept
        if start not in (LAST, "new", "oldest"):
            return Position(*parse(start.encode()))
        snapshot = self._stream.look(Position(0, 0), 1)
        if start == "oldest":
            return Position(*preceding(snapshot.first), snapshot.trimmed())
        return Position(*snapshot.last, snapshot.added)

    def read(self) -> bool:
        """Put some of the stream on the bus; False if there was nothing new."""
        if not self._pending:
            before = self._position = self._position or self.begin()
            snapshot = self._look(before)
            before = self._position = self._adopted(before, snapshot)
            self._tell()
            gap = self._gap(before, snapshot)
            if gap is not None:
                self._is_near, self._seen = False, None
                batches = [self._batches.of_gap(gap, before)]
            elif snapshot.entries:
                batches = self._batches.of(before, snapshot)
            else:
                if snapshot.is_end and self._cursor.behind != 0:
                    self._locked(setattr, self._cursor, "behind", 0)
                return False
            for batch in batches:
                step = Step(self._term, before, batch.after, snapshot.behind(batch.after))
                self._pending.append((batch, step))
                before = batch.after
        self._append()
        return True

    def _look(self, before: Position) -> Snapshot:
        snapshot = self._stream.glance(before) if self._is_near and before.check else None
        if snapshot is None:
            snapshot = self._stream.look(before, ENTRIES)
        self._is_near = snapshot.is_end
        return snapshot

    def _adopted(self, before: Position, snapshot: Snapshot) -> Position:
        """The place with what is known of it by now, also when Redis was away since."""
        if before.entry == snapshot.last and snapshot.is_end:
            before = before._replace(added=snapshot.added)
        if before.entry == (0, 0):  # of a group that somebody has set back to the beginning, too
            before = before._replace(added=0)
        if before.check:
            return before
        if snapshot.at is not None and (self._seen is None or self._seen.entry != before.entry):
            self._seen = before._replace(check=check_of(snapshot.at))
        if self._seen is not None and self._seen.entry == before.entry:
            before = before._replace(check=self._seen.check)
        return before

    def _gap(self, before: Position, snapshot: Snapshot) -> Gap | None:
        """What is gone between the place and the entries."""
        gap = snapshot.gap(before, self._counted)
        is_trimmed = snapshot.at is None and snapshot.first > before.entry
        if is_trimmed and not (gap and gap.is_of_end) and self._keeper.has_gone_back():
            # As many were trimmed as were lost, or more: counting does not tell.
            gap = snapshot.gap_of_end(before)
        if snapshot.is_end and snapshot.deleted != (0, 0):
            self._counted = max(snapshot.last, snapshot.deleted)
        return gap

    def _tell(self) -> None:
        """Log that this is the reader: only now, since while Redis is away each try elects one."""
        if not self._is_told:
            self._is_told = True
            what = "bus %r: this process is the reader of stream %r"
            report(what, self._name, self._stream.name, level=INFO)

    def keep_at_end(self) -> None:
        """Have Redis keep the place now, unless another process reads; no more is read."""
        try:
            # Also where the one before was killed before it could.
            place = self._locked(self._cursor.position) if self.elect() else None
        except StdeventsError:  # the bus was closed before its relay; nobody else read until then
            place, self._term = self._position if self.reading else None, 0
        self._keeper.keep(place, at_once=True)

    def standing(self) -> Standing:
        """How far the bus is."""
        return self._locked(standing_of, self.seat.words)

    def is_another_reading(self) -> bool:
        """Is there another process that reads, and reaches Redis?"""
        return self._cursor.reader() > 0 and not self.seat.words[AWAY_SINCE]

    def tell_away(self, since: float) -> None:
        """Tell onlookers since when Redis is away, in seconds since the epoch; 0: it is not."""
        if self.seat.words[AWAY_SINCE] != int(since):
            self.seat.words[AWAY_SINCE] = int(since)

    def _append(self) -> None:
        """Append what was read; what finds no room is kept for later."""
        pending, position = self._pending, self._position
        self._forget_place()  # an error leaves it unknown, to be read again
        while pending:
            batch, step = pending[0]
            try:
                if batch.records:
                    self._look_for_room(batch.records)
                if batch.unclaimed:  # not before there is room: what ends now has claimed nothing
                    batch = self._batches.claimed(batch)
                    pending[0] = batch, step
                if batch.records:
                    self.seat.table.append(batch.records, step)
                else:
                    self._locked(self._cursor.take, step)
            except NoRoom:
                time.sleep(self.seat.settings.wait_interval)
                break
            except Overtaken:
                self._term = 0
                raise
            self._count(batch)
            position, pending = step.after, pending[1:]
        self._position, self._pending = position, pending
        self._has_all = self._is_near and not pending
        self._keeper.keep(position)

    def _count(self, batch: Batch) -> None:
        """Only what is on the bus: what another reader is to append instead, that one counts."""
        self._counts["relayed"] += batch.relayed
        self._counts["elsewhere"] += batch.elsewhere
        for gap in batch.gaps:
            self._losses.told(gap)

    def _look_for_room(self, records: list[bytes]) -> None:
        """NoRoom if they would overwrite what a worker will take soon, also with "drop"."""
        try:
            self.seat.table.check_room(records)
        except NoRoom as full:
            if self.seat.settings.overflow == "wait" or self._pace.is_worth_waiting(full):
                raise
        else:
            self._pace.has_room()

    def _forget_place(self) -> None:
        self._position, self._pending, self._has_all = None, [], False
