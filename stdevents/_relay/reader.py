"""The reader: from a stream to the bus of its host, in one process of the host at a time.

    elect     become the reader, for a lease that is renewed, unless another process is
    look      read some entries after the cursor; are entries before them gone already?
    claim     of the events with `unique` among them, those that this host may handle
    append    each event together with the cursor's move to it, by the rules of `_cursor`

Killed at any instant, it leaves the cursor where the next reader has to begin.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, NamedTuple

from .._bus import codec as _codec
from .._bus.bus import Bus
from .._bus.session import Session, events
from .._errors import NoRoom, StdeventsError
from .._log import logger
from .._table.layout import FLAG_RELAYED, HEADER_EPOCH
from .._table.workers import is_live
from .cursor import LEASE, Overtaken
from .stream import (
    ELSEWHERE,
    GONE,
    OURS,
    EntryId,
    Gap,
    Look,
    Move,
    Position,
    Stream,
    parse,
    preceding,
    written,
)

if TYPE_CHECKING:
    from .._table.table import Event

ENTRIES = 256  # at most, in one look
LONGEST_BATCH = 64  # events, since posters wait for the lock
PARTS = 4  # a batch takes at most one of so many parts of the ring and its slots
LONGEST_NAME = 255  # bytes of UTF-8, of a stream or a host
LARGEST_PID = (1 << 31) - 1
LOGGED = 10  # skipped entries; from then on only those whose count is a power of two


class _Arrival(NamedTuple):
    """An entry as it was read; its event is empty if it has to be skipped."""

    entry: EntryId
    event: Event = (b"", 0)
    pid: int = 0
    key: str | None = None  # of `unique`; "" if this host has no handler for the event


class _Batch(NamedTuple):
    """Events to append together, and the position in the stream after them."""

    events: list[Event]
    pids: list[int]
    after: Position


class Reader:
    """A candidate for the reader of an open bus."""

    def __init__(
        self,
        bus: Bus,
        session: Session,
        stream: Stream,
        start: str,
        was_removed: bool,
        counts: Counter[str],
    ) -> None:
        self.session = session
        self._handlers = bus._handlers
        self._name = session.segment.name
        self._table = session.table
        self._cursor = session.table.cursor
        self._locked = session.table.exclusively
        self._stream = stream
        self._start = start
        self._was_removed = was_removed  # the bus before this one, and with it its cursor
        self._counts = counts
        self._term = 0  # 0: it is not the reader
        self._renewal = 0  # when it is due, in nanoseconds of CLOCK_MONOTONIC
        self._position: Position | None = None  # the cursor's, where it is known
        self._pending: list[tuple[tuple[Event, ...], Move]] = []
        # Not the host's name, which may be another's, too.
        self._holder = f"{session.words[HEADER_EPOCH]:016x}"
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
        now = time.monotonic_ns()
        if self._term and now < self._renewal:
            return True
        if not (self._term and self._locked(self._cursor.renew, self._term)):
            segment = self.session.segment
            lives = partial(is_live, segment.folder)
            worker = segment.worker
            self._term = worker and self._locked(self._cursor.elect, worker.slot, lives) or 0
            self._forget_place()
            if self._term:
                what = "bus %r: this process is the reader of stream %r"
                logger().info(what, self._name, self._stream.name)
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
                batches = [_Batch([self._loss(gap)], [os.getpid()], gap.after)]
            elif look.entries:
                batches = self._batches(before, look)
            else:
                return False
            for batch in batches:
                move = Move(self._term, before, batch.after, tuple(batch.pids))
                self._pending.append((tuple(batch.events), move))
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
            batch, move = pending[0]
            try:
                if batch:
                    self._table.append(batch, move)
                else:
                    self._locked(self._cursor.move, move)
            except NoRoom:  # with overflow="wait"
                time.sleep(self.session.settings.wait_interval)
                break
            except Overtaken:
                self._term = 0
                raise
            self._counts["relayed"] += sum(event[1] & FLAG_RELAYED > 0 for event in batch)
            position, pending = move.after, pending[1:]
        self._position, self._pending = position, pending

    def _forget_place(self) -> None:
        self._position, self._pending = None, []

    # -- entries -----------------------------------------------------------------------------------

    def _batches(self, before: Position, look: Look) -> list[_Batch]:
        """The events that the entries of a look become on the bus, in batches."""
        layout = self.session.segment.layout
        # Only a part of the ring, so as not to overwrite what no worker had time to read.
        longest, most = layout.size // PARTS, min(LONGEST_BATCH, layout.events // PARTS)
        arrivals = [self._arrival(raw) for raw in look.entries]
        verdicts = self._verdicts(arrivals)
        batches, length = [_Batch([], [], before)], 0
        for number, (entry, event, pid, _) in enumerate(arrivals, 1):
            before = Position(*entry, look.added_up_to(number, before))
            verdict = verdicts[number - 1]
            if verdict == ELSEWHERE:
                self._counts["elsewhere"] += 1
            elif event[0]:
                if verdict == GONE or len(event[0]) > layout.size:
                    event, pid = self._loss(Gap(entry, entry, 1, before)), os.getpid()
                length += len(event[0])
                if length > longest or len(batches[-1].events) >= most:
                    batches.append(_Batch([], [], before))
                    length = len(event[0])
                batches[-1].events.append(event)
                batches[-1].pids.append(pid)
            batches[-1] = batches[-1]._replace(after=before)
        return batches

    def _verdicts(self, arrivals: list[_Arrival]) -> list[int]:
        """Of each event: is it OURS, as all are that have no `unique`, or ELSEWHERE, or GONE?"""
        wanted = [(written(one.entry), one.key) for one in arrivals if one.key]
        claims = iter(self._stream.claim(wanted, self._holder, self.session.settings.timeout))
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
            encoded = _codec.encode(source, event, data, unique)
            relayed = _codec.relayed(*encoded, host, written_id.decode())
            key = None if unique is None else _codec.key_of(unique)
            # The workers of a host are assumed to have the same handlers.
            if key and not self._handlers.living(self._handlers.find(source, event)):
                key = ""
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            self._skip(written_id.decode(), error)
            return _Arrival(entry)
        return _Arrival(entry, relayed, pid, key)

    def _skip(self, entry: str, error: Exception) -> None:
        self._counts["skipped"] += 1
        count = self._counts["skipped"]
        if count <= LOGGED or not count & (count - 1):
            logger().warning(
                "bus %r: entry %s of stream %r is not an event of a relay of this version, and is "
                "skipped (%s); %d so far",
                self._name, entry, self._stream.name, type(error).__name__, count,
            )  # fmt: skip

    def _loss(self, gap: Gap) -> Event:
        """The `lost` event for all workers, in its place in the order."""
        self._counts["gaps"] += 1
        data = {
            "first": written(gap.first) if gap.first else None,
            "last": written(gap.last) if gap.last else None,
            "count": gap.number,
            "stream": self._stream.name,
        }
        logger().warning(
            "bus %r: events of stream %r are lost, %s to %s (%s), gone before this host came to "
            "them; keep more of the stream, by maxlen, or have Redis persist it",
            self._name, self._stream.name, data["first"], data["last"],
            "how many is unknown" if gap.number is None else gap.number,
        )  # fmt: skip
        return _codec.encode(events._source, events.lost, data, None)
