"""The event table: protocols Post (P), Poll (R) and Claim (C) over the bytes of a segment.

Event `i` has slot `i % events`, and a stretch of the ring. Ring positions count up for ever; a
position's place is `position % size`. An event begins where the one before it ends.

A slot is, for the event `i` that it serves,

    free      its id is less than i, or 0
    written   P3 has stored fields, payload and id; LAST is still less than i
    published LAST >= i: P4 has happened, and it is there for all
    reused    INTENT_ID >= i + events: that event is written, or published, or was to be
    claimed   published, and a worker was made the only one to handle it

Rules:

1. Only the holder of the lock writes, except that a worker stores its own position.
2. LAST is stored once for a post, of one event or of many, last of all. Before that there is
   nothing to see, and after a death nothing to repair: the next poster begins at P1 again, with
   the same id.
3. The bytes of the ring from INTENT - size on are whole. INTENT is raised before a byte is
   written (P2), never lowered; it may be ahead of the last event, if a poster died.
4. The slots of the ids from INTENT_ID + 1 - events on are whole. INTENT_ID is raised, and may be
   ahead, likewise. A post leaves the slot of the last event whole, where the next one begins.
5. A copy is the event if 3 and 4 still hold after it was made (R4), and if its checksum, which
   covers id and fields as well as payload, is right (R5). The last is for processors that
   reorder stores, and for damage from outside.
6. A mark in its slot, never the key alone, decides who handles an event that only one may. So
   it holds for workers that come to it late, when the key has long expired.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections import deque
from hashlib import blake2b
from struct import Struct
from zlib import crc32

from .._errors import NoRoom, PayloadTooLarge, SegmentError, StdeventsError
from .._log import logger
from .._relay.cursor import Cursor
from .._system.folder import RESTART
from .layout import (
    CLAIM_DEADLINE,
    CLAIM_EVENT,
    CLAIM_KEY_HIGH,
    CLAIM_KEY_LOW,
    CLAIM_PID,
    CLAIM_WORDS,
    EVENT_CLAIMED,
    EVENT_POSITION,
    EVENT_WORDS,
    INTENT,
    INTENT_ID,
    LAST,
    ROOM_ID,
    ROOM_POSITION,
    WAITING,
    WORD,
)
from .workers import clear_if_dead, is_where_it_was, live_workers, positions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Tuple, TypeVar

    from .._bus.segment import Segment
    from .._relay.stream import Move

    T = TypeVar("T")
    Event = Tuple[bytes, int]  # payload, flags
    # Events on their way into the table together, their bytes, the id that the last one of them
    # had at their last P1, or 0, and how they move the cursor of a relay, or None.
    Entry = List[Any]
    Claimed = Tuple[bool, int]
    Record = Tuple[int, int, int, bytes]  # id, pid of the poster, flags, payload

RUN_EVENTS = 128  # at most, in one look
RUN_BYTES = 1 << 16  # of payload at most, in one look; one event may be larger
PROBES = 16  # places in which a key may stand
DEATH_EVERY = 0.1  # seconds after which a post that waits looks again whether its worker lives

SLOT_BYTES = WORD * EVENT_WORDS
_fields = Struct("=4Q")  # position, length, pid, flags
_slot = Struct("=Q32sQ16x")  # id, the fields as bytes, checksum
_slot_fields = Struct("=8x4Q24x")
_slot_but_id = Struct("=6Q")  # fields, checksum, claimed
_place = Struct("=3Q")  # id, position, length
_ends = Struct("=Q56x2Q")  # LAST, INTENT, INTENT_ID
_key_halves = Struct("=2Q")


# How a claim ended: does this worker handle the event, and if not, which process does (0: lost)?
MINE: Claimed = (True, 0)
LOST: Claimed = (False, 0)


class Table:
    def __init__(self, segment: Segment) -> None:
        self._name = segment.name
        self._lock = segment.lock
        self._bell = segment.bell
        self._words = segment.words
        self._bytes = segment.bytes
        self._ring = segment.ring
        self._size = segment.layout.size
        self._events = segment.layout.events
        self._events_at = segment.layout.events_at
        self._slot_of = segment.layout.slot_of
        self._claims = segment.layout.claims
        self._claims_at = segment.layout.claims_at
        self._settings = segment.settings
        self._waits = segment.settings.overflow == "wait"
        self._folder = segment.folder
        self.cursor = Cursor(segment.words)
        self._pid = os.getpid()
        self.posted = 0
        self._entries: deque[Entry] = deque()
        self._left_late = False

    @property
    def last(self) -> int:
        """The id of the last published event, 0 if there was none yet."""
        return self._words[LAST]

    def before_oldest(self) -> int:
        """The position from which a reader gets all that the ring still holds."""
        last = self.last
        return self._oldest(max(1, last + 1 - self._events), last) - 1

    # -- post --------------------------------------------------------------------------------------

    def append(self, events: tuple[Event, ...], move: Move | None = None) -> int:
        """Publish events, all of them or none, and return the last one's id.

        A `move` of the cursor of a relay is published with them; Overtaken if it cannot be.
        PayloadTooLarge if they are more than the ring or the slots of the bus can hold at once.
        Called by a signal handler or finaliser that interrupted an append of its own thread, it
        leaves the events to that one, which publishes them before it releases the lock. The id
        counts on that one's events too: if they are refused, it is too high.
        """
        length = 0
        for payload, _ in events:
            length += len(payload)
        if length > self._size or len(events) >= self._events:
            raise self.too_large(length, len(events))
        entry: Entry = [events, length, 0, move]
        lock = self._lock
        if lock.owner and lock.mine():
            return self._leave_to_interrupted(entry)
        try:
            try:
                lock.acquire()
                self._entries.append(entry)
                self._publish(entry)
                lock.release()
            except StdeventsError:  # refused; a signal handler may raise in here as well
                self._recover()
                raise
        except BaseException as error:
            self._recover(error)
            raise
        try:
            if self._left_late:
                self._publish_late()
            if self._words[WAITING]:  # W4, after the unlocking: no store passes a system call
                self._words[WAITING] = 0
                self._bell.ring()
        except ValueError:  # another thread has closed the bus; the event is published
            pass
        event_id: int = entry[2]
        return event_id

    def _leave_to_interrupted(self, entry: Entry) -> int:
        # The interrupted append may still be waiting for the lock. Then it is taken here, on the
        # same open file, and kept for it: from now on no other process moves LAST.
        self._lock.acquire()
        self._left_late = True
        self._entries.append(entry)
        event_id = last = self.last
        for other in list(self._entries):  # a copy, since another signal may interrupt this
            event_id += 0 if 0 < other[2] <= last else len(other[0])
            if other is entry:
                break
        return event_id

    def _publish(self, own: Entry | None = None) -> None:
        """Write the waiting entries; one that was interrupted before P4 once more.

        Raises the refusal of `own`; that of another entry is logged, since its poster has returned
        with an id.
        """
        entries = self._entries
        while entries:
            entry = entries[0]
            if not entry[2] or entry[2] > self._words[LAST]:
                try:
                    self._write(entry)
                except StdeventsError as error:  # refused; by any other it was interrupted
                    entries.popleft()
                    if entry is own:
                        raise
                    what = "bus %r: a post of a signal handler or finaliser is dropped: %s"
                    logger().error(what, self._name, error)
                    continue
            entries.popleft()

    def _write(self, entry: Entry) -> None:
        words, memory, size, count = self._words, self._bytes, self._size, self._events
        events, length, _, move = entry
        pid = self._pid
        # P1: the next id and position follow from the last event
        last, intent, intent_id = _ends.unpack_from(memory, WORD * LAST)
        event_id = last
        slot = self._events_at + EVENT_WORDS * (last % count)
        found, position, last_length = _place.unpack_from(memory, WORD * slot)
        position += last_length
        if found != last or intent != position or intent_id != last:
            self._look_closer(last, found, position)
        if move is not None:
            self.cursor.check(move)
        through, end = last + len(events), position + length
        if self._waits and (through > words[ROOM_ID] or end > words[ROOM_POSITION]):
            self._make_room(last, through, position, end)
        if end > intent:
            words[INTENT] = end  # P2: before any byte is overwritten
        if through > intent_id:
            words[INTENT_ID] = through  # P2: before any slot is
        entry[2] = through
        for payload, flags in events:
            event_id += 1
            slot = self._events_at + EVENT_WORDS * (event_id % count)
            words[slot] = 0  # P3: before anything else in the slot changes
            length = len(payload)
            place = position % size
            if place + length <= size:
                self._ring[place : place + length] = payload
            else:
                self._ring[place:] = payload[: size - place]
                self._ring[: place + length - size] = payload[size - place :]
            if move is not None:
                pid = move.pids[event_id - last - 1]
            fields = _fields.pack(position, length, pid, flags)
            checksum = crc32(fields + payload, event_id & 0xFFFFFFFF)
            at = WORD * slot + WORD
            _slot_but_id.pack_into(memory, at, position, length, pid, flags, checksum, 0)
            words[slot] = event_id  # P3: the id last, when all else of it is there
            position += length
        if move is not None:
            self.cursor.write(through, move.after)
        words[LAST] = through  # P4: all of them published, by this one store
        self.posted += through - last

    def _look_closer(self, last: int, found: int, position: int) -> None:
        """There is something beyond event `last`: a poster died after P2, or it is damage."""
        intent, intent_id = self._words[INTENT], self._words[INTENT_ID]
        if (
            found != last
            or not position <= intent <= position + self._size
            or not last <= intent_id < last + self._events
        ):
            raise self._damaged(f"the slot of event {last}, the last one, is not sound")
        if intent != position:  # a poster died, or was interrupted, after P2
            self.cursor.take_back()

    # -- room, with overflow="wait" ----------------------------------------------------------------

    def append_when_there_is_room(
        self, events: tuple[Event, ...], full: NoRoom, busy: int = 0
    ) -> int:
        """Append what was refused: try again, `shm_retries` times, each after `wait_interval`.

        NoRoom without another try if it would wait for the worker whose pid is `busy`.
        LockTimeout as from `append`: the lock is waited for once, not `shm_retries` times.
        """
        settings, look = self._settings, time.monotonic() + DEATH_EVERY
        for left in reversed(range(settings.shm_retries)):
            if busy in full.pids:
                break
            time.sleep(settings.wait_interval)
            now = time.monotonic()
            # Without the lock, which many posts that wait would keep from all others.
            if left and now < look and is_where_it_was(self._words, *full._slowest):
                continue
            look = now + DEATH_EVERY
            try:
                return self.append(events)
            except NoRoom as still_full:
                full = still_full
        raise full

    def _make_room(self, last: int, through: int, position: int, end: int) -> None:
        """NoRoom, unless all live workers have taken what is to be overwritten.

        By the events after `last` up to `through`, in the ring from `position` up to `end`.
        """
        slow = sorted(self._too_slow(last, through, position, end))
        # Only up to the first that lives: where many posts wait, each of them does this.
        while slow and self._is_dead(slow[0][2]):
            del slow[0]
        if slow:
            taken, pid, _ = slow[0]
            full = NoRoom(
                f"bus {self._name!r}: no room for {end - position} bytes, in {through - last} of "
                f"its {self._events} slots, until worker {pid}, "
                f"which is {last - taken} events behind, has taken more; "
                "configure a larger size, or have it poll more often",
                pid,
                last - taken,
                tuple(pid for _, pid, _ in slow),
            )
            full._slowest = slow[0]
            raise full
        taken = min([last, *[taken for taken, _, _ in positions(self._words)]])
        self._words[ROOM_ID] = taken + self._events
        self._words[ROOM_POSITION] = self._start_after(taken, last, position) + self._size

    def _is_dead(self, slot: int) -> bool:
        """Is the worker of the slot dead? Then it is cleared away."""
        try:
            return clear_if_dead(self._folder, self._words, slot)
        except OSError:  # a process that cannot look takes it to be alive
            return False

    def _too_slow(
        self, last: int, through: int, position: int, end: int
    ) -> list[tuple[int, int, int]]:
        """Position, pid and slot of each worker that has to take more before they are written."""
        return [
            (taken, pid, slot)
            for taken, pid, slot in positions(self._words)
            if through > taken + self._events
            or end > self._start_after(taken, last, position) + self._size
        ]

    def _start_after(self, taken: int, last: int, position: int) -> int:
        """Where the event after `taken` starts; the one after `last` will at `position`."""
        if taken >= last:
            return position
        return self._words[self._slot_of(taken + 1) + EVENT_POSITION]

    # -- poll --------------------------------------------------------------------------------------

    def read(self, after: int) -> tuple[int, list[Record]]:
        """Some of the events that follow `after`: `(through, records)`.

        The records have consecutive ids up to `through`; the ids from `after` + 1 to `through`
        that have no record are lost. `through == after`: nothing is new.
        """
        last = self._words[LAST]  # R1
        if last == after:
            return after, []
        if last < after:
            raise self._damaged(f"its last event is {last}, and {after} was there already")
        first = after + 1
        while first <= last:
            records = self._copy(first, last)
            if not records:
                oldest = self._oldest(first, last)
                if oldest > first:
                    first = oldest
                    continue
                records = self._copy_locked(first)
            return (records[-1][0] if records else first), records
        return last, []

    def _copy(self, first: int, last: int) -> list[Record]:
        """A run of whole events from `first` on; empty if `first` is not whole."""
        count = min(last + 1 - first, RUN_EVENTS, self._events - first % self._events)
        start = WORD * self._slot_of(first)
        copied = self._bytes[start : start + count * SLOT_BYTES].tobytes()  # R2: the slots
        slots = list(_slot_fields.iter_unpack(copied))
        begin = slots[0][0]
        length = self._length_of_run(slots)
        if length > self._size:
            return []
        payloads = self._copy_ring(begin, length)  # R3: the payloads, at once
        if self._is_reused(first):  # R4: the oldest of a run is overwritten first
            return []
        records: list[Record] = []
        expected, at = first, 0
        pairs = zip(_slot.iter_unpack(copied), slots)
        for (event_id, fields, checksum), (_, length, pid, flags) in pairs:
            payload = payloads[at : at + length]
            if event_id != expected:  # R2
                break
            if crc32(fields + payload, event_id & 0xFFFFFFFF) != checksum:  # R5
                break
            records.append((event_id, pid, flags, payload))
            expected += 1
            at += length
        return records

    def _length_of_run(self, slots: list[tuple[int, ...]]) -> int:
        """How many bytes of payloads to take for these slots; drops those that are too many.

        The first one's, however many they are, and then as long as it is little.
        """
        begin = slots[0][0]
        while True:
            position, length, _, _ = slots[-1]
            length += position - begin
            if 0 <= length <= RUN_BYTES or len(slots) == 1:
                return length
            del slots[(len(slots) + 1) // 2 :]

    def _copy_ring(self, position: int, length: int) -> bytes:
        place = position % self._size
        if place + length <= self._size:
            return bytes(self._ring[place : place + length])
        return b"".join((self._ring[place:], self._ring[: place + length - self._size]))

    def _is_reused(self, event_id: int) -> bool:
        """Was the published event `event_id` overwritten, or may it be being so just now?"""
        words = self._words
        slot = self._slot_of(event_id)
        # R4: before INTENT_ID, which is raised before a slot changes (P2). The other way round, a
        # slot that is reused in between would be taken for a damaged one.
        found, position = words[slot], words[slot + EVENT_POSITION]
        # LAST is never beyond INTENT_ID, but for damage: of as many events as it says then, all
        # but the last few are lost, and not looked for one by one.
        if event_id + self._events <= max(words[INTENT_ID], words[LAST]):
            return True
        if found != event_id:
            return False  # it cannot be: so it is damaged, or not visible yet
        return position + self._size < words[INTENT]

    def _oldest(self, first: int, last: int) -> int:
        """The oldest event from `first` on that is not overwritten; last + 1 if all are."""
        low, high = first, last + 1
        while low < high:
            middle = (low + high) // 2
            if self._is_reused(middle):
                low = middle + 1
            else:
                high = middle
        return low

    def _copy_locked(self, event_id: int) -> list[Record]:
        """The event that is there and yet could not be read, or nothing if it is damaged.

        Whoever stored it has had the lock, so that under the lock all of it is visible.
        """
        records = self.exclusively(self._copy, event_id, event_id)
        if not records and not self._is_reused(event_id):
            logger().error("bus %r: event %d is damaged, and dropped", self._name, event_id)
        return records

    # -- claim -------------------------------------------------------------------------------------

    def claim(self, event_id: int, key: str, timeout: float) -> Claimed:
        """Make this worker the only one to handle the event, if no other is, or holds the key."""
        return self.exclusively(self._claim, event_id, key, timeout)

    def _claim(self, event_id: int, key: str, timeout: float) -> Claimed:
        words = self._words
        slot = self._slot_of(event_id)
        if words[slot] != event_id:
            return LOST
        if words[slot + EVENT_CLAIMED]:  # C1: decided already
            return False, words[slot + EVENT_CLAIMED]
        now = time.monotonic_ns()
        high, low = _key_halves.unpack(blake2b(key.encode(), digest_size=16).digest())
        claim = self._claim_slot(high, low, now)
        alive = words[claim + CLAIM_DEADLINE] > now
        same = words[claim + CLAIM_KEY_HIGH] == high and words[claim + CLAIM_KEY_LOW] == low
        if alive and same and words[claim + CLAIM_EVENT] != event_id:  # C2: ignored, for everybody
            words[slot + EVENT_CLAIMED] = words[claim + CLAIM_PID]
            return False, words[claim + CLAIM_PID]
        words[claim + CLAIM_DEADLINE] = 0  # C3: the key is ours; free until all of it is there
        words[claim + CLAIM_KEY_HIGH] = high
        words[claim + CLAIM_KEY_LOW] = low
        words[claim + CLAIM_PID] = self._pid
        words[claim + CLAIM_EVENT] = event_id
        words[claim + CLAIM_DEADLINE] = min(now + int(timeout * 1e9), (1 << 64) - 1)
        words[slot + EVENT_CLAIMED] = self._pid  # C4: the event is ours
        return MINE

    def _claim_slot(self, high: int, low: int, now: int) -> int:
        """The claim slot of the key, or else the one that is free soonest."""
        words = self._words
        soonest = -1
        for probe in range(min(PROBES, self._claims)):
            claim = self._claims_at + CLAIM_WORDS * ((low + probe) % self._claims)
            if words[claim + CLAIM_KEY_LOW] == low and words[claim + CLAIM_KEY_HIGH] == high:
                return claim
            deadline = words[claim + CLAIM_DEADLINE]
            if soonest < 0 or deadline < words[soonest + CLAIM_DEADLINE]:
                soonest = claim
        if words[soonest + CLAIM_DEADLINE] > now:
            logger().warning(
                "bus %r: too many unique keys at once; one is given up before its timeout: "
                "configure a larger size, or a shorter timeout",
                self._name,
            )
        return soonest

    # -- workers -----------------------------------------------------------------------------------

    def workers(self) -> list[tuple[int, ...]]:
        """The live workers, by slot: the fields of a `WorkerInfo` of each."""
        return self.exclusively(self._workers)

    def _workers(self) -> list[tuple[int, ...]]:
        try:
            return live_workers(self._folder, self._words, self._words[LAST])
        except OSError as error:
            if isinstance(error, StdeventsError):
                raise
            what = f"cannot look at its folder: {error}"
            raise self._folder.error(error.errno, what) from error

    def go_back(self, position_at: int) -> int:
        """Have a worker begin with the oldest event there is; its position then."""
        return self.exclusively(self._go_back, position_at)

    def _go_back(self, position_at: int) -> int:
        # Posters have reckoned with workers that all were further on.
        self._words[ROOM_ID] = self._words[ROOM_POSITION] = 0
        position = self._words[position_at] = self.before_oldest()
        return position

    # -- under the lock ----------------------------------------------------------------------------

    def exclusively(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work under the lock, also where the calling thread was interrupted in it."""
        if self._lock.mine():
            # As _leave_to_interrupted: that one may still be waiting for the lock, or releasing it.
            self._lock.acquire()
            self._left_late = True
            return work(*arguments)
        try:
            try:
                self._lock.acquire()
                result = work(*arguments)
                self._publish()
                self._lock.release()
            except StdeventsError:  # as in append
                self._recover()
                raise
        except BaseException as error:
            self._recover(error)
            raise
        self._publish_late()
        return result

    def finish(self) -> None:
        """Publish what a signal handler has interrupted, or left, before it closes the bus."""
        if self._entries and self._lock.mine():
            with contextlib.suppress(StdeventsError, ValueError):  # it is being closed anyway
                self._lock.acquire()
                self._publish()
            self._lock.release()  # others must not wait for a handler that the close waits for

    def _recover(self, error: BaseException | None = None) -> None:
        """Release the lock after a refusal, or an exception from a signal handler at any step.

        What that one interrupted in the middle of being written is written once more. If it has
        closed the bus, that is a ValueError, as by most views it is already.
        """
        try:
            if self._entries and self._lock.mine() and self._lock.held:
                self._publish()
        finally:
            self._lock.release()
            self._publish_late()
        if isinstance(error, (TypeError, IndexError)) and self._lock.is_forgotten():
            raise ValueError(f"bus {self._name!r}: it was closed during this call") from error

    def _publish_late(self) -> None:
        """Publish what a signal handler left when the lock was just being released."""
        while self._left_late:  # again, if one came while this was releasing
            try:
                self._lock.acquire()
                self._left_late = False
                self._publish()
            except (StdeventsError, ValueError):
                return  # another thread has the lock, and publishes them, or has closed the bus
            finally:
                self._lock.release()

    def too_large(self, length: int, count: int) -> PayloadTooLarge:
        if length > self._size:
            have, limit = f"{length} bytes as JSON, and the ring has {self._size}", self._size
        else:
            limit = self._events - 1
            have, length = f"{count} slots, and the bus has {limit} for one post", count
        what = "the event takes" if count == 1 else f"the {count} events together take"
        return PayloadTooLarge(
            f"bus {self._name!r}: {what} {have}; post less at once, or configure a larger size",
            length,
            limit,
        )

    def _damaged(self, what: str) -> SegmentError:
        what = f"its shared memory is damaged: {what}; {RESTART}"
        return self._folder.error(errno.EINVAL, what)
