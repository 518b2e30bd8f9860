"""The reader: from a stream to the bus of its host, in one process of the host at a time.

    elect     become the reader, for a lease that is renewed, unless another process is
    look      read some entries after the cursor; are entries before them gone already?
    claim     of the events with `unique` among them, those that this host may handle
    append    each batch together with the cursor's step to its end, by the rules of `cursor`

Killed at any instant, it leaves the cursor where the next reader has to begin.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from .._bus import codec
from .._bus.delivery import events
from .._errors import NoRoom, StdeventsError
from .._log import INFO, WARNING, report
from .._system import presence
from .._system.clock import monotonic_ns
from .cursor import LEASE, Cursor, Overtaken, Step
from .stream import (
    ELSEWHERE,
    GONE,
    OURS,
    EntryId,
    Gap,
    Position,
    Snapshot,
    Stream,
    parse,
    preceding,
    written,
)

if TYPE_CHECKING:
    from .._bus.handlers import Handlers
    from .._bus.seat import Seat

ENTRIES = 256  # at most, in one look
LONGEST_BATCH = 64  # events, since posters wait for the lock
PARTS = 4  # a batch takes at most one of so many parts of the ring and its slots
LONGEST_NAME = 255  # bytes of UTF-8, of a stream or a host
LARGEST_PID = (1 << 31) - 1
LOGGED = 10  # skipped entries; from then on only those whose count is a power of two


class Arrival(NamedTuple):
    """An entry as it was read; its record is empty if it has to be skipped."""

    entry: EntryId
    record: bytes = b""
    key: str | None = None  # of `unique`; "" if this host has no handler for the event


class Batch(NamedTuple):
    """Records to append together, and the position in the stream after them."""

    records: list[bytes]
    after: Position
    relayed: int = 0  # how many of them are events of the stream


class Reader:
    """A candidate for the reader of an open bus, on one seat."""

    def __init__(
        self,
        seat: Seat,
        handlers: Handlers,
        stream: Stream,
        start: str,
        was_removed: bool,
        counts: Counter[str],
    ) -> None:
        self.seat = seat
        self._handlers = handlers
        self._name = seat.name
        self._cursor = Cursor(seat.words)
        self._locked = seat.lock.hold
        self._stream = stream
        self._start = start
        self._was_removed = was_removed  # the bus before this one, and with it its cursor
        self._counts = counts
        self._term = 0  # 0: it is not the reader
        self._is_told = False  # that it is
        self._renewal = 0  # when it is due, in nanoseconds of CLOCK_MONOTONIC
        self._position: Position | None = None  # the cursor's, where it is known
        self._pending: list[tuple[Batch, Step]] = []
        # Not the host's name, which may be another's, too.
        self._holder = f"{seat.epoch:016x}"
        digest = blake2b(stream.name.encode(), digest_size=8).digest()
        if not self._locked(self._cursor.bind, int.from_bytes(digest, "big") or 1):
            raise StdeventsError(
                f"bus {self._name!r}: another stream than {stream.name!r} is relayed to it; "
                "take that one, or another bus"
            )

    # -- election ----------------------------------------------------------------------------------

    @property
    def reading(self) -> bool:
        """Is this process the reader, as far as it knows?"""
        return self._term > 0

    def elect(self) -> bool:
        """Become the reader, unless another process is; is this one the reader now?"""
        now = monotonic_ns()
        if self._term and now < self._renewal:
            return True
        if not (self._term and self._locked(self._cursor.renew, self._term)):
            self._term = self._elect()
            self._forget_place()
            self._is_told = False
        self._renewal = now + LEASE // 3
        return self._term > 0

    def _elect(self) -> int:
        if self.seat.slot is None:  # a poster: nobody would know whether it lives
            return 0
        lives = partial(presence.lives, self.seat.folder)
        return self._locked(self._cursor.elect, self.seat.slot, lives)

    def resign(self) -> None:
        """Let another process be elected now, not when the lease ends."""
        term, self._term = self._term, 0
        if term:
            self._locked(self._cursor.resign, term)

    # -- read --------------------------------------------------------------------------------------

    def begin(self) -> Position:
        """How far the bus has come; one that has no position yet gets one."""
        position = self._locked(self._cursor.position)
        if position is not None:
            self._was_removed = False  # the process that set it has announced the loss
            return position
        snapshot = self._stream.look(Position(0, 0), 1)
        if self._start == "new" or self._was_removed:
            position = Position(*snapshot.last, snapshot.added)
        elif self._start == "oldest":
            position = Position(*preceding(snapshot.first), snapshot.trimmed())
        else:
            position = Position(*parse(self._start.encode()))
        return self._locked(self._cursor.begin, position)

    def read(self) -> bool:
        """Put some of the stream on the bus; False if there was nothing new.

        RelayError; LockTimeout; Overtaken if another reader was elected.
        """
        if not self._pending:
            before = self._position = self._position or self.begin()
            snapshot = self._stream.look(before, ENTRIES)
            self._tell()
            gap = Gap(None, None, None, before) if self._was_removed else snapshot.gap(before)
            self._was_removed = False
            if gap is not None:
                batches = [Batch([self._loss(gap)], gap.after)]
            elif snapshot.entries:
                batches = self._batches(before, snapshot)
            else:
                return False
            for batch in batches:
                self._pending.append((batch, Step(self._term, before, batch.after)))
                before = batch.after
        self._append()
        return True

    def _tell(self) -> None:
        """Log that this is the reader: only now, since while Redis is away each try elects one."""
        if not self._is_told:
            self._is_told = True
            what = "bus %r: this process is the reader of stream %r"
            report(what, self._name, self._stream.name, level=INFO)

    def wait(self, seconds: float) -> None:
        """Wait until there is something new on the stream, or so long."""
        if self._position is not None:
            self._stream.wait(self._position, seconds)

    def _append(self) -> None:
        """Append what was read; what finds no room is kept for later."""
        pending, position = self._pending, self._position
        self._forget_place()  # an error leaves it unknown, to be read again
        while pending:
            batch, step = pending[0]
            try:
                if batch.records:
                    self.seat.table.append(batch.records, step)
                else:
                    self._locked(self._cursor.take, step)
            except NoRoom:  # with overflow="wait"
                time.sleep(self.seat.settings.wait_interval)
                break
            except Overtaken:
                self._term = 0
                raise
            self._counts["relayed"] += batch.relayed
            position, pending = step.after, pending[1:]
        self._position, self._pending = position, pending

    def _forget_place(self) -> None:
        self._position, self._pending = None, []

    # -- entries -----------------------------------------------------------------------------------

    def _batches(self, before: Position, snapshot: Snapshot) -> list[Batch]:
        """The records that the entries of a snapshot become on the bus, in batches."""
        layout = self.seat.table.layout
        # Only a part of the ring, so as not to overwrite what no worker had time to read.
        longest, most = layout.size // PARTS, min(LONGEST_BATCH, layout.events // PARTS)
        arrivals = [self._arrival(raw) for raw in snapshot.entries]
        verdicts = self._verdicts(arrivals)
        batches, length = [Batch([], before)], 0
        for number, (entry, record, _) in enumerate(arrivals, 1):
            before = Position(*entry, snapshot.added_up_to(number, before))
            verdict, relayed = verdicts[number - 1], 0
            if verdict == ELSEWHERE:
                self._counts["elsewhere"] += 1
            elif record:
                relayed = 1
                if verdict == GONE or len(record) > layout.size:
                    record, relayed = self._loss(Gap(entry, entry, 1, before)), 0
                length += len(record)
                if length > longest or len(batches[-1].records) >= most:
                    batches.append(Batch([], before))
                    length = len(record)
                batches[-1].records.append(record)
            last = batches[-1]
            batches[-1] = last._replace(after=before, relayed=last.relayed + relayed)
        return batches

    def _verdicts(self, arrivals: list[Arrival]) -> list[int]:
        """Of each event: is it OURS, as all are that have no `unique`, or ELSEWHERE, or GONE?"""
        wanted = [(written(one.entry), one.key) for one in arrivals if one.key]
        claims = iter(self._stream.claim(wanted, self._holder, self.seat.settings.timeout))
        return [
            OURS if one.key is None else next(claims) if one.key else ELSEWHERE for one in arrivals
        ]

    def _arrival(self, raw: bytes) -> Arrival:
        """An entry, with the checks of any post: anything may have written it."""
        written_id, *fields = raw.split(b"\n", 3)
        entry = parse(written_id)
        try:
            pid, host = int(fields[0]), fields[1].decode()
            parts = json.loads(fields[2].decode())
            if not isinstance(parts, list) or not 3 <= len(parts) <= 4:
                raise ValueError
            if not 0 < pid <= LARGEST_PID or not 0 < len(fields[1]) <= LONGEST_NAME:
                raise ValueError
            source, event, data, unique = parts if len(parts) == 4 else (*parts, None)
            where = pid, host, written_id.decode()
            record = codec.encode_relayed(source, event, data, unique, *where)
            key = None if unique is None else codec.key_of(unique)
            # The workers of a host are assumed to have the same handlers.
            if key and self._handlers.living(self._handlers.find(source, event)) is None:
                key = ""
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            self._skip(written_id.decode(), error)
            return Arrival(entry)
        return Arrival(entry, record, key)

    def _skip(self, entry: str, error: Exception) -> None:
        self._counts["skipped"] += 1
        count = self._counts["skipped"]
        if count <= LOGGED or not count & (count - 1):
            report(
                "bus %r: entry %s of stream %r is not an event of a relay of this version, and is "
                "skipped (%s); %d so far",
                self._name, entry, self._stream.name, type(error).__name__, count,
                level=WARNING,
            )  # fmt: skip

    def _loss(self, gap: Gap) -> bytes:
        """The record of the `lost` event for all workers, in its place in the order."""
        self._counts["gaps"] += 1
        data = {
            "first": written(gap.first) if gap.first else None,
            "last": written(gap.last) if gap.last else None,
            "count": gap.number,
            "stream": self._stream.name,
        }
        report(
            "bus %r: events of stream %r are lost, %s to %s (%s), gone before this host came to "
            "them; keep more of the stream, by maxlen, or have Redis persist it",
            self._name, self._stream.name, data["first"], data["last"],
            "how many is unknown" if gap.number is None else gap.number,
            level=WARNING,
        )  # fmt: skip
        return codec.encode(events._source, events.lost, data)
