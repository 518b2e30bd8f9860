"""Append: protocol Post (P) over the bytes of a segment, all of it under the lock.

The common case is one function, as flat as can be, since a post is measured against the lock that
it takes; what is rare is done in others.
"""

from __future__ import annotations

import errno
import sys
from struct import Struct
from zlib import crc32

from .._errors import PayloadTooLarge, SegmentError
from .._system import fence as _fence
from .layout import (
    CELL_EVENT,
    CELLS,
    EVENT_WORDS,
    INTENT,
    INTENT_ID,
    LAST,
    ROOM_ID,
    ROOM_POSITION,
    WORD,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol, Sequence

    from .layout import Layout
    from .room import Room

    class Companion(Protocol):
        """What travels with events, and is published with them or not at all."""

        def check(self, words: memoryview) -> None:
            """P1: raise if it cannot be published now."""

        def write(self, words: memoryview, through: int) -> None:
            """P3: store it, to be published with the event `through`."""


ends = Struct("=Q56x2Q").unpack_from  # LAST, INTENT, INTENT_ID
ENDS_AT = WORD * LAST
# Of an event slot: ID, END, CHECK. Of CHECK the 32 bits that it has: crc32 takes no more, and more
# are there only by damage.
slot_fields = Struct("=2QI" if sys.byteorder == "little" else "=2Q4xI").unpack_from
store_slot = Struct("=3Q").pack_into  # END, CHECK, CLAIMED
SLOT_BYTES = WORD * EVENT_WORDS


class Writer:
    """Appends to the log of one bus."""

    def __init__(
        self, name: str, words: memoryview, ring: memoryview, layout: Layout, room: Room | None
    ) -> None:
        self._name = name
        self._words = words
        self._ring = ring
        self._size = layout.size
        self._count = layout.events
        self._slots = layout.events_at
        self._slots_at = WORD * layout.events_at
        self._room = room  # with overflow="wait"
        self._reorders = _fence.REORDERS
        #: events that were published by this process
        self.posted = 0

    def write(self, records: Sequence[bytes], companion: Companion | None) -> int:
        """Publish the records; the last one's id.

        PayloadTooLarge, NoRoom, SegmentError, or what the companion raises: nothing was done then.
        """
        words, count, size = self._words, self._count, self._size
        number = len(records)
        text = records[0] if number == 1 else b"".join(records)
        length = len(text)
        if length > size or number >= count:
            raise self._too_large(length, number)
        # P1: where the next event goes follows from the last one
        last: int
        last, intent, intent_id = ends(words, ENDS_AT)
        found, start, check = slot_fields(words, self._slots_at + SLOT_BYTES * (last % count))
        through = last + number
        end = start + length
        if intent != start or intent_id != last or found != last:
            self._look_closer(last, found, start)
        if companion is not None:
            companion.check(words)
        if self._room is not None and (through > words[ROOM_ID] or end > words[ROOM_POSITION]):
            self._room.make(last, through, start, end)
        if intent < end:
            words[INTENT] = end  # P2: before any byte is overwritten
        if intent_id < through:
            words[INTENT_ID] = through  # P2: before any slot is
        place = start % size
        if place + length <= size:
            self._ring[place : place + length] = text  # P3
        else:
            self._wrap(place, text)
        for record in records:
            last += 1
            start += len(record)
            check = crc32(record, check)
            slot = self._slots + EVENT_WORDS * (last % count)
            words[slot] = 0  # P3: before anything else in the slot changes
            store_slot(words, WORD * slot + WORD, start, check, 0)  # P3
            words[slot] = last  # P3: the id last, when all else of it is there
        if companion is not None:
            companion.write(words, through)
        if self._reorders:
            _fence.fence()  # P4: nobody sees it before all of P3
        words[LAST] = through  # P4: all of them published, by this one store
        self.posted += number
        return through

    def _wrap(self, place: int, text: bytes) -> None:
        left = self._size - place
        self._ring[place:] = text[:left]  # P3
        self._ring[: len(text) - left] = text[left:]  # P3

    def _look_closer(self, last: int, found: int, start: int) -> None:
        """There is something beyond event `last`: a post ended before P4, or it is damage."""
        words = self._words
        intent, intent_id = words[INTENT], words[INTENT_ID]
        if (
            found != last
            or not start <= intent <= start + self._size
            or not last <= intent_id < last + self._count
        ):
            raise damaged(self._name, f"the slot of event {last}, the last one, is not sound")
        # P1: else the event that gets the id now would publish what the dead one had with it.
        for cell in CELLS:
            if words[cell + CELL_EVENT] > last:
                words[cell + CELL_EVENT] = 0

    def _too_large(self, length: int, count: int) -> PayloadTooLarge:
        if length > self._size:
            have, limit = f"{length} bytes as JSON, and the ring has {self._size}", self._size
        else:
            limit = self._count - 1
            have, length = f"{count} slots, and the bus has {limit} for one post", count
        what = "the event takes" if count == 1 else f"the {count} events together take"
        return PayloadTooLarge(
            f"bus {self._name!r}: {what} {have}; post less at once, or configure a larger size",
            length,
            limit,
        )


def damaged(name: str, what: str) -> SegmentError:
    """The error for memory that only a new bus can replace."""
    return SegmentError(
        errno.EINVAL,
        f"bus {name!r}: its shared memory is damaged: {what}; restart its workers",
    )
