"""From the entries of a look to batches: what is appended to the bus together."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .ids import Position, written
from .snapshot import Gap
from .stream import ELSEWHERE, OURS

if TYPE_CHECKING:
    from .._bus.seat import Seat
    from .entries import Entries, Entry
    from .losses import Losses
    from .snapshot import Snapshot
    from .stream import Stream

LONGEST = 64  # events, since posters wait for the lock
PARTS = 4  # a batch takes at most one of so many parts of the ring and its slots


class Batch(NamedTuple):
    """Records to append together, and the position in the stream after them."""

    records: list[bytes]
    after: Position
    relayed: int = 0  # how many of them are events of the stream
    elsewhere: int = 0  # how many events before that position are another host's
    gaps: tuple[Gap, ...] = ()  # what the rest of the records tell of
    #: which of the records, by index, are events with `unique` that were not claimed yet
    unclaimed: tuple[tuple[int, Entry], ...] = ()


class Batches:
    """Of one reader."""

    def __init__(self, seat: Seat, stream: Stream, entries: Entries, losses: Losses) -> None:
        self._seat = seat
        self._stream = stream
        self._entries = entries
        self._losses = losses
        # Not the host's name, which may be another's, too.
        self._holder = f"{seat.epoch:016x}"

    def of_gap(self, gap: Gap, before: Position) -> Batch:
        """The batch that tells of what is gone after the position `before`."""
        after = self._losses.after(gap, before)
        return Batch([self._losses.record_of(gap)], after, gaps=(gap,))

    def of(self, before: Position, snapshot: Snapshot) -> list[Batch]:
        """The records that the entries of a snapshot become on the bus, in batches."""
        layout = self._seat.table.layout
        # Only a part of the ring, so as not to overwrite what no worker had time to read.
        longest, most = layout.size // PARTS, min(LONGEST, layout.events // PARTS)
        entries = [self._entries.entry_of(text) for text in snapshot.entries]
        batches, length = [Batch([], before)], 0
        for number, entry in enumerate(entries, 1):
            before = Position(*entry.id, snapshot.added_up_to(number, before), entry.check)
            gaps: tuple[Gap, ...] = ()
            record, is_elsewhere = entry.record, entry.key == ""
            if is_elsewhere:
                record = b""
            elif len(record) > layout.size:
                record, gaps = self._gone(entry, before, len(record))
            last = batches[-1]
            if record:
                length += len(record)
                if length > longest or len(last.records) >= most:
                    batches.append(Batch([], last.after))
                    length = len(record)
                    last = batches[-1]
                if entry.key and not gaps:
                    one = len(last.records), entry
                    last = last._replace(unclaimed=(*last.unclaimed, one))
                last.records.append(record)
            batches[-1] = last._replace(
                after=before,
                relayed=last.relayed + (bool(record) and not gaps),
                elsewhere=last.elsewhere + is_elsewhere,
                gaps=last.gaps + gaps,
            )
        return batches

    def claimed(self, batch: Batch) -> Batch:
        """Without the events that are another host's; what is gone by now is told as lost."""
        wanted = [(written(entry.id), entry.key or "") for _, entry in batch.unclaimed]
        verdicts = self._stream.claim(wanted, self._holder, self._seat.settings.timeout)
        records, gaps, elsewhere = list(batch.records), batch.gaps, 0
        for (index, entry), verdict in reversed([*zip(batch.unclaimed, verdicts)]):
            if verdict == ELSEWHERE:
                elsewhere += 1
                del records[index]
            elif verdict != OURS:
                records[index], gone = self._gone(entry, batch.after)
                gaps = gone + gaps
        return batch._replace(
            records=records,
            relayed=batch.relayed - elsewhere - (len(gaps) - len(batch.gaps)),
            elsewhere=batch.elsewhere + elsewhere,
            gaps=gaps,
            unclaimed=(),
        )

    def _gone(self, entry: Entry, after: Position, too_large: int = 0) -> tuple[bytes, tuple[Gap]]:
        gap = Gap(entry.id, entry.id, 1, after, too_large=too_large)
        return self._losses.record_of(gap), (gap,)
