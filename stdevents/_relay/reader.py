"""The reader: from a stream to the bus of its host, in one process of the host at a time.

    elect     become the reader, for a lease that is renewed, unless another process is
    look      read some entries after the cursor; are entries before them gone already?
    claim     of the events with `unique` among them, those that this host may handle
    append    each event together with the cursor's move to it, by the rules of `cursor`

Killed at any instant, it leaves the cursor where the next reader has to begin.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from .._bus import codec as _codec
from .._bus.delivery import events
from .._errors import NoRoom, StdeventsError
from .._log import INFO, WARNING, report
from .._system.clock import monotonic_ns
from .._table.layout import HEADER_EPOCH
from .cursor import LEASE, Cursor, Overtaken, Travelling
from .stream import (
    ELSEWHERE,
    GONE,
    OURS,
    EntryId,
    Gap,
    Position,
    Snapshot,
    Step,
    Stream,
    parse,
    preceding,
    written,
)

if TYPE_CHECKING:
    from typing import Callable

    from .._bus.handlers import Handlers
    from .._bus.seat import Seat

ENTRIES = 256  # at most, in one look
LONGEST_BATCH = 64  # events, since posters wait for the lock
PARTS = 4  # a batch takes at most one of so many parts of the ring and its slots
LONGEST_NAME = 255  # bytes of UTF-8, of a stream or a host
LARGEST_PID = (1 << 31) - 1
LOGGED = 10  # skipped entries; from then on only those whose count is a power of two


class _Arrival(NamedTuple):
    """An entry as it was read; its record is empty if it has to be skipped."""

    entry: EntryId
    record: bytes = b""
    key: str | None = None  # of `unique`; "" if this host has no handler for the event


class _Batch(NamedTuple):
    """Events to append together, and the position in the stream after them."""

    records: list[bytes]
    relayed: int  # how many of them are events of the stream
    after: Position


class Reader:
    """A candidate for the reader of an open bus."""

    def __init__(
        self,
        handlers: Handlers,
        seat: Seat,
        lives: Callable[[int], bool],
        stream: Stream,
        start: str,
        was_removed: bool,
        counts: Counter[str],
    ) -> None:
        self.seat = seat
        self._lives = lives
        self._handlers = handlers
        self._name = seat.name
        self._table = seat.table
        self._cursor = Cursor(seat.words)
        self._locked = seat.lock.hold
        self._stream = stream
        self._start = start
        self._was_removed = was_removed  # the bus before this one, and with it its cursor
        self._counts = counts
        self._term = 0  # 0: it is not the reader
        self._renewal = 0  # when it is due, in nanoseconds of CLOCK_MONOTONIC
        self._position: Position | None = None  # the cursor's, where it is known
        self._pending: list[tuple[_Batch, Step]] = []
        # Not the host's name, which may be another's, too.
        self._holder = f"{seat.words[HEADER_EPOCH]:016x}"
        digest = blake2b(stream.name.encode(), digest_size=8).digest()
        if not self._locked(self._cursor.bind, int.from_bytes(digest, "big") or 1):
            raise StdeventsError(
                f"bus {self._name!r}: another stream than {stream.name!r} is relayed to it; "
                "take that one, or another bus"
            )

    # -- election ----------------------------------------------------------------------------------

    @property
    def reading(self) -> bool:
        return self._term > 0

    def elect(self) -> bool:
        """Become the reader, unless another process is; is this one the reader now?"""
        now = monotonic_ns()
        if self._term and now < self._renewal:
            return True
        if not (self._term and self._locked(self._cursor.renew, self._term)):
            slot = self.seat.slot  # a poster has none, and is no candidate
            elect = self._cursor.elect
            self._term = 0 if slot is None else self._locked(elect, slot, self._lives)
            self._forget_place()
            if self._term:
                what = "bus %r: this process is the reader of stream %r"
                report(what, self._name, self._stream.name, level=INFO)
        self._renewal = now + LEASE // 3
        return self._term > 0

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
        look = self._stream.look(Position(0, 0), 1)
        if self._start == "new" or self._was_removed:
            position = Position(*look.last, look.added)
        elif self._start == "oldest":
            position = Position(*preceding(look.first), look.trimmed())
        else:
            position = Position(*parse(self._start.encode()))
        return self._locked(self._cursor.begin, position)

    def read(self) -> bool:
        """Put some of the stream on the bus; False if there was nothing new.

        RelayError; LockTimeout; Overtaken if another reader was elected.
        """
        if not self._pending:
            before = self._position = self._position or self.begin()
            look = self._stream.look(before, ENTRIES)
            gap = Gap(None, None, None, before) if self._was_removed else look.gap(before)
            self._was_removed = False
            if gap is not None:
                batches = [_Batch([self._loss(gap)], 0, gap.after)]
            elif look.entries:
                batches = self._batches(before, look)
            else:
                return False
            for batch in batches:
                self._pending.append((batch, Step(self._term, before, batch.after)))
                before = batch.after
        self._append()
        return True

    def wait(self, seconds: float) -> None:
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
                    self._table.append(batch.records, Travelling(self._cursor, step))
                else:
                    self._locked(self._cursor.move, step)
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

    def _batches(self, before: Position, look: Snapshot) -> list[_Batch]:
        """The events that the entries of a look become on the bus, in batches."""
        layout = self._table.layout
        # Only a part of the ring, so as not to overwrite what no worker had time to read.
        longest, most = layout.size // PARTS, min(LONGEST_BATCH, layout.events // PARTS)
        arrivals = [self._arrival(raw) for raw in look.entries]
        verdicts = self._verdicts(arrivals)
        batches, length = [_Batch([], 0, before)], 0
        for number, (entry, record, _) in enumerate(arrivals, 1):
            before = Position(*entry, look.added_up_to(number, before))
            verdict = verdicts[number - 1]
            if verdict == ELSEWHERE:
                self._counts["elsewhere"] += 1
            elif record:
                lost = verdict == GONE or len(record) > layout.size
                if lost:
                    record = self._loss(Gap(entry, entry, 1, before))
                length += len(record)
                if length > longest or len(batches[-1].records) >= most:
                    batches.append(_Batch([], 0, before))
                    length = len(record)
                records, relayed, _ = batches[-1]
                batches[-1] = _Batch([*records, record], relayed + (not lost), before)
            batches[-1] = batches[-1]._replace(after=before)
        return batches

    def _verdicts(self, arrivals: list[_Arrival]) -> list[int]:
        """Of each event: is it OURS, as all are that have no `unique`, or ELSEWHERE, or GONE?"""
        wanted = [(written(one.entry), one.key) for one in arrivals if one.key]
        claims = iter(self._stream.claim(wanted, self._holder, self.seat.settings.timeout))
        return [
            OURS if one.key is None else next(claims) if one.key else ELSEWHERE for one in arrivals
        ]

    def _arrival(self, raw: bytes) -> _Arrival:
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
            entry_id = written_id.decode()
            record = _codec.encode_relayed(source, event, data, unique, pid, host, entry_id)
            key = None if unique is None else _codec.key_of(unique)
            # The workers of a host are assumed to have the same handlers.
            if key and self._handlers.living(self._handlers.find(source, event)) is None:
                key = ""
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            self._skip(written_id.decode(), error)
            return _Arrival(entry)
        return _Arrival(entry, record, key)

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
        """The `lost` event for all workers, in its place in the order."""
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
        return _codec.encode(events._source, events.lost, data)
