"""Read: protocol Poll (R) over the bytes of a segment.

A reader keeps id, END and CHECK of the event that it took last, and copies what follows in runs,
without the lock. A copy that does not hold is looked at once more, under the lock: only then is
anything believed to be lost, or damaged.
"""

from __future__ import annotations

from zlib import crc32

from .._system import fence as _fence
from .append import damaged, slot_fields
from .layout import EVENT_END, EVENT_WORDS, INTENT, INTENT_ID, LAST, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Tuple

    from .layout import Layout

    # First and last id, and was it overwritten? If not, it was damaged.
    Loss = Tuple[int, int, bool]
    # Id, END and CHECK of an event.
    Place = Tuple[int, int, int]

RUN_BYTES = 1 << 16  # at most, in one run; one event may be larger
RUN_EVENTS = 256  # at most, in one run: what many more are decoded into leaves the cache
UNKNOWN = 1 << 64  # an END that no event has

_comma = b","


class Run:
    """Some events that follow each other, as they were copied; never changed.

    `text` is a JSON array of the events after `before` up to `through`. `end` and `check` are those
    of `through`, where the next run begins. What was lost in front of it, `losses`, ends at
    `before`.
    """

    __slots__ = ("before", "check", "end", "losses", "text", "through")

    def __init__(
        self,
        before: int,
        through: int,
        end: int,
        check: int,
        text: bytes = b"",
        losses: tuple[Loss, ...] = (),
    ) -> None:
        self.before = before
        self.through = through
        self.end = end
        self.check = check
        self.text = text
        self.losses = losses


class Reader:
    """Reads the log of one bus."""

    def __init__(self, name: str, words: memoryview, ring: memoryview, layout: Layout) -> None:
        self._name = name
        self._words = words
        self._ring = ring
        self._size = layout.size
        self._count = layout.events
        self._slots = layout.events_at
        self._slot_of = layout.slot_of
        self._reorders = _fence.REORDERS

    def run(self, before: int, end: int, check: int) -> Run | None:
        """What follows the event `before` with this END and CHECK; None if it does not hold.

        There has to be something: LAST is beyond `before`.
        """
        words, size = self._words, self._size
        through = words[LAST]  # R1
        if through > before + RUN_EVENTS:
            through = before + RUN_EVENTS
        if self._reorders:
            _fence.fence()  # R1: what is published is visible after this
        slot = self._slots + EVENT_WORDS * (through % self._count)
        found, stop, expected = slot_fields(words, WORD * slot)  # R2
        if stop - end > RUN_BYTES and through > before + 1:
            if words[INTENT] > end + size:  # R4, before much is copied in vain
                return None
            through = self._within(before, through, end + RUN_BYTES)
            slot = self._slots + EVENT_WORDS * (through % self._count)
            found, stop, expected = slot_fields(words, WORD * slot)  # R2
        length = stop - end
        if found != through or not 0 < length <= size:  # R2
            return None
        start = end % size
        # R3: all but the comma at its end
        if start + length <= size:
            text = b"".join((b"[", self._ring[start : start + length - 1], b"]"))
        else:
            text = b"[%b]" % self.copy(end, length - 1)
        if self._reorders:
            _fence.fence()  # R4: copied before it is looked at once more
        if (
            words[slot] != through
            or words[INTENT_ID] >= through + self._count
            or words[INTENT] > end + size
        ):  # R4
            return None
        if crc32(_comma, crc32(memoryview(text)[1:-1], check)) != expected:  # R5
            return None
        return Run(before, through, stop, expected, text)

    def _within(self, before: int, last: int, most: int) -> int:
        """The last event that ends at `most` or earlier; the one after `before` in any case."""
        # A slot that is reused meanwhile ends later. Whatever comes out is checked by R2 to R5.
        words, low, high = self._words, before + 1, last
        low = max(low, last - self._count + 1)
        while low < high:
            middle = (low + high + 1) // 2
            if words[self._slot_of(middle) + EVENT_END] <= most:
                low = middle
            else:
                high = middle - 1
        return low

    # -- under the lock ----------------------------------------------------------------------------

    def run_again(self, before: int, end: int, check: int) -> Run:
        """What follows the event `before`, and what of it is lost; under the lock.

        Whoever has stored anything has had the lock, so all of it is visible. SegmentError if LAST
        is damaged.
        """
        last = self._words[LAST]
        if last < before:
            what = f"its last event is {last}, and {before} was there already"
            raise damaged(self._name, what)
        losses: list[Loss] = []
        # The reader's own word first: the slot may be damaged. Or the other way round, if it has
        # not read yet.
        place = self.place(before) if end == UNKNOWN else (before, end, check)
        run = None
        if not self._is_whole(place):
            oldest = self._oldest(before, last)
            if oldest > before:
                losses.append((before + 1, oldest, True))
            place = self.place(oldest)
        elif before < last:
            run = self._whole_run(place, last)
            place = self.place(before)
        while run is None and place[0] < last:
            run = self._whole_run(place, last)
            if run is None:
                # Where the slot itself is damaged, this costs the event after it, too.
                place = self.place(place[0] + 1)
                _add_damaged(losses, place[0])
        if run is None:
            run = Run(place[0], *place)
        run.losses = tuple(losses)
        return run

    def place(self, event_id: int) -> Place:
        """Id, END and CHECK of a published event, by its slot; UNKNOWN if that is not whole."""
        found, end, check = slot_fields(self._words, WORD * self._slot_of(event_id))
        if found != event_id or self._words[INTENT_ID] >= event_id + self._count:
            return event_id, UNKNOWN, 0
        return event_id, end, check

    def oldest(self) -> Place:
        """The place from which a reader gets all that the ring still holds; under the lock."""
        last = self._words[LAST]
        return self.place(self._oldest(0, last))

    def _is_whole(self, place: Place) -> bool:
        """Is the event after this place not overwritten, and cannot be being so?"""
        before, end, _ = place
        intent_id = max(self._words[INTENT_ID], self._words[LAST])
        if end == UNKNOWN:  # then its slot has to be, where it begins
            return bool(intent_id < before + self._count)
        return bool(intent_id <= before + self._count and self._words[INTENT] <= end + self._size)

    def _oldest(self, before: int, last: int) -> int:
        """The oldest place from `before` on after which all is there; `last` if none is."""
        # LAST is never beyond INTENT_ID, but for damage: of as many events as it says then, all
        # but the last few are lost, and not looked for one by one.
        intent_id = max(self._words[INTENT_ID], last)
        low = min(max(before, intent_id - self._count + 1), last)
        high = last
        while low < high:
            middle = (low + high) // 2
            if self._words[self._slot_of(middle) + EVENT_END] + self._size < self._words[INTENT]:
                low = middle + 1
            else:
                high = middle
        return low

    def _whole_run(self, place: Place, last: int) -> Run | None:
        """A run of what follows the place, up to what is damaged; None if that is the first."""
        run = self.run(*place)
        if run is not None:
            return run
        before, end, check = place
        pieces: list[bytes] = []
        first, through = end, before
        while through < last:
            found, stop, expected = slot_fields(self._words, WORD * self._slot_of(through + 1))
            length = stop - end
            if found != through + 1 or not 0 < length <= self._size:
                break
            if stop - first > RUN_BYTES and pieces:
                break
            piece = self.copy(end, length)
            if crc32(piece, check) != expected:
                break
            pieces.append(piece)
            through, end, check = found, stop, expected
        if not pieces:
            return None
        return Run(before, through, end, check, b"[%b]" % b"".join(pieces)[:-1])

    def copy(self, start: int, length: int) -> bytes:
        """So many bytes of the ring, from a position on."""
        place = start % self._size
        if place + length <= self._size:
            return self._ring[place : place + length].tobytes()
        return b"".join((self._ring[place:], self._ring[: place + length - self._size]))

    def cut(self, run: Run) -> list[bytes | None]:
        """The records of a run one by one, by the slots; None where those are reused by now."""
        begin = run.end - (len(run.text) - 1)
        ends = [self.place(event_id)[1] for event_id in range(run.before + 1, run.through)]
        offsets = [0, *[end - begin for end in ends], len(run.text) - 1]
        return [
            run.text[start + 1 : stop] if 0 <= start < stop < len(run.text) else None
            for start, stop in zip(offsets, offsets[1:])
        ]


def _add_damaged(losses: list[Loss], event_id: int) -> None:
    """Add a damaged event: to those just before it, so that many of them are told of at once."""
    first = event_id
    if losses and not losses[-1][2]:
        first = losses.pop()[0]
    losses.append((first, event_id, False))
