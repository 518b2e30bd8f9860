"""What a host is told of entries that are gone, and where it goes on."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING

from .._bus import codec
from .._bus.delivery import events
from .._log import WARNING, report
from .ids import UNKNOWN, Position, parse, written
from .snapshot import check_of

if TYPE_CHECKING:
    from collections import Counter
    from typing import Any

    from .._bus.seat import Seat
    from .entries import Entries
    from .ids import EntryId
    from .snapshot import Gap
    from .stream import Stream

RELAYED = 7  # parts of an event that a relay has brought
AT_ONCE = 256  # entries that Redis is asked for: less than a lease may last


class Losses:
    """Of one reader."""

    def __init__(self, seat: Seat, stream: Stream, entries: Entries, counts: Counter[str]) -> None:
        self._seat = seat
        self._stream = stream
        self._entries = entries
        self._counts = counts

    def record_of(self, gap: Gap) -> bytes:
        """The record of the `lost` event for all workers, in its place in the order."""
        return codec.encode(events._source, events.lost, self._data_of(gap))

    def told(self, gap: Gap) -> None:
        """Count it, and log it: its event is on the bus."""
        self._counts["gaps"] += 1
        data = self._data_of(gap)
        if gap.too_large:
            report(
                "bus %r: event %s of stream %r is lost to this host: it takes %d bytes, and the "
                "ring has %d; configure a larger size on this host",
                self._seat.name, data["first"], self._stream.name, gap.too_large,
                self._seat.table.layout.size,
                level=WARNING,
            )  # fmt: skip
        else:
            report(
                "bus %r: events of stream %r are lost, %s to %s (%s), gone before this host came "
                "to them; keep more of the stream, by maxlen, or have Redis persist it",
                self._seat.name, self._stream.name, data["first"], data["last"],
                "how many is unknown" if gap.number is None else gap.number,
                level=WARNING,
            )  # fmt: skip

    def _data_of(self, gap: Gap) -> dict[str, Any]:
        return {
            "first": written(gap.first) if gap.first else None,
            "last": written(gap.last) if gap.last else None,
            "count": gap.number,
            "stream": self._stream.name,
        }

    def after(self, gap: Gap, before: Position) -> Position:
        """Where to go on after a gap.

        Where Redis has lost its newest entries, others may have ids that this host is beyond. It
        goes back to the last one that is on its bus and on the stream.
        """
        relayed = self._newest_on_bus() if gap.is_of_end else []
        relayed = [(entry, record) for entry, record in relayed if entry <= before.entry]
        while relayed:
            asked = relayed[:AT_ONCE]
            found = self._stream.find([entry for entry, _ in asked])
            if found < 0:
                relayed = relayed[AT_ONCE:]
                continue
            entry, record = relayed[found]
            text = self._stream.text_of(entry)
            if text is not None and self._entries.entry_of(text).record.startswith(record):
                return Position(*entry, UNKNOWN, check_of(text))
            relayed = relayed[found + 1 :]
        return gap.after

    def _newest_on_bus(self) -> list[tuple[EntryId, bytes]]:
        """The events that the bus still has from the stream, the newest first."""
        table = self._seat.table
        found: list[bytes | None] = []
        run = table.run_at(self._seat.lock.hold(table.reader.oldest)[0])
        while run.through < table.last:
            run = table.read(run)
            found += table.reader.cut(run)
        relayed = []
        for record in reversed(found):
            text = (record or b"[]").rstrip(b",")
            with contextlib.suppress(ValueError, RecursionError):  # damaged, or too deep
                parts: list[Any] = json.loads(text)
                if len(parts) == RELAYED:
                    relayed.append((parse(parts[-1].encode()), text))
        return relayed
